"""The fault bench: every fault that Alpaca, the network and the host can commit, from a seed."""
