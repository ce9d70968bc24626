"""A pretend Alpaca in its own process: streams, markets, scripted faults, and a ledger.

Strict where Alpaca is strict: it is the bench on which the proxy and your programs are tested.
"""
