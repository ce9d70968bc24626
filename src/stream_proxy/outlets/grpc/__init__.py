"""gRPC: the service that `cream.v1` names, and what a gRPC server is expected to have beside it."""
