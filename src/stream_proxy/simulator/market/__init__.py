"""The simulator's markets: what its endpoints have to say, generated or replayed.

A market is a plain object without clock or I/O of its own (see ``base.Market``).
"""
