"""Write the Python code of the contract: `make proto`. Its result is checked in, so that nobody
needs a compiler; a test compares."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).parent
CONTRACT = "cream/v1/stream_proxy.proto"
STANDARD = Path(grpc_tools.__file__).with_name("_proto")
PLACE = HERE.parent / "src" / "stream_proxy" / "wire" / "grpc"


def generate(place: Path) -> None:
    """Put ``stream_proxy_pb2.py`` and its types into a folder.

    Raises:
        SystemExit: the compiler refused the contract; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The compiler wants to put it where the contract lies.
        arguments = [
            f"-I{HERE}",
            f"-I{STANDARD}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            CONTRACT,
        ]
        if protoc.main(["protoc", *arguments]):
            raise SystemExit(1)
        for made in Path(folder, CONTRACT).parent.iterdir():
            (place / made.name).write_bytes(made.read_bytes())


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE)
