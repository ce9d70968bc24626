"""Ports for servers that have to come back at the same address."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One that nobody listens on; somebody may, before it is used."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
