"""gRPC: the contract's messages, and upstream's messages written as them."""
