"""Benchmarks: one script per question, each checks what it measured before it believes its clock.

    python -m bench.fanout [--quick]     deliveries per CPU-second, against other programs
    python -m bench.latency [--quick]    what the proxy adds to a message's way
    python -m bench.grpc [--quick]       the same two questions for gRPC, against a plain server
    python -m bench.growth [--quick]     what cost and memory grow with
    python -m bench.ingest [--quick]     splitting and routing alone

Linux only: processes are pinned to cores, and CPU time is read from ``/proc``.
"""
