"""The middle: synchronous fan-out from topics to consumers. No I/O, no clock, no codec."""
