"""The vocabulary: feeds, channels, topics, messages and nanosecond time.

Nothing here does I/O, reads a clock, or imports anything else of ours.
"""
