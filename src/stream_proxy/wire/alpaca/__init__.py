"""Alpaca's market-data protocol, from both sides."""
