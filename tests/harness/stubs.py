"""What grpcio's own generator makes of a contract, and of nothing else."""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc


def stubs(contract: Path, folder: Path) -> str:
    """Generate a client into a folder of its own; give the folder."""
    folder.mkdir()
    standard = Path(protoc.__file__).with_name("_proto")
    arguments = [f"-I{contract}", f"-I{standard}", f"--python_out={folder}"]
    arguments += [f"--grpc_python_out={folder}", "cream/v1/stream_proxy.proto"]
    assert protoc.main(["protoc", *arguments]) == 0
    return str(folder)
