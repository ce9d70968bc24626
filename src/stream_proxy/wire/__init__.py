"""Bytes to vocabulary and back, and protocol sessions: pure, no I/O, no clock."""
