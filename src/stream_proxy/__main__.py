"""python -m stream_proxy."""

from stream_proxy.cli import main

main()
