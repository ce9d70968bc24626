"""One Alpaca connection in, any number of consumers out."""

__version__ = "0.1.0"
