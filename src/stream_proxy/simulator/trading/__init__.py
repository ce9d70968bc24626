"""The trading side of the simulator: accounts, orders, fills, and Alpaca's ways to ask about them.

The engine (`engine.py`) is synchronous and does no I/O; clock and randomness are arguments. The
desk (`desk.py`) gives it time, sockets and HTTP.
"""
