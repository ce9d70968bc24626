"""What the simulator's streams sent, over REST.

The truth about the market: also what was sent to nobody because nobody was connected.
"""
