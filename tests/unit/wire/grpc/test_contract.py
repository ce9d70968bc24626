"""The contract keeps what existing clients know, and the checked-in code is the contract's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.encode import encode_batch, encoder_for
from stream_proxy.wire.grpc.framing import feed_fields

ROOT = Path(__file__).parents[4]
PROTOS = ROOT / "protos"
EXISTING = ROOT / "tests" / "compat" / "grpc" / "contract"
CONTRACT = "cream/v1/stream_proxy.proto"
CODE = ROOT / "src" / "stream_proxy" / "wire" / "grpc"

BESIDE = ("sequence", "epoch", "received_at", "source", "back_filled", "notice")
"""What every response has beside its item."""


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("buf"), *arguments],
        cwd=PROTOS, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def described(folder: Path, out: Path) -> FileDescriptorProto:
    """A contract as its compiler understands it."""
    standard = Path(grpc_tools.__file__).with_name("_proto")
    assert not protoc.main(["protoc", f"-I{folder}", f"-I{standard}", f"-o{out}", CONTRACT])
    (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    return file


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorProto:
    return described(EXISTING, tmp_path_factory.mktemp("existing") / "contract")


def test_the_code_is_what_the_compiler_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROTOS / "generate.py", tmp_path], check=True, timeout=60)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["stream_proxy_pb2.py", "stream_proxy_pb2.pyi"]
    for name in made:
        assert (tmp_path / name).read_text() == (CODE / name).read_text(), "run: make proto"


def test_the_contract_is_tidy() -> None:
    linted = buf("lint")
    assert linted.returncode == 0, linted.stdout
    formatted = buf("format", "--diff", "--exit-code")
    assert formatted.returncode == 0, formatted.stdout


def test_nothing_that_existing_clients_know_is_changed() -> None:
    compared = buf("breaking", "--against", EXISTING)
    assert compared.returncode == 0, compared.stdout


def test_a_change_would_be_noticed(tmp_path: Path) -> None:
    """The comparison itself is not for show."""
    changed = shutil.copytree(PROTOS, tmp_path / "protos")
    text = (changed / CONTRACT).read_text()
    (changed / CONTRACT).write_text(text.replace("double bid_price = 4;", "float bid_price = 4;"))
    compared = buf("breaking", changed, "--against", EXISTING)
    assert compared.returncode != 0
    assert 'Field "4" with name "bid_price" on message "StockQuote"' in compared.stdout


def test_what_is_added_starts_at_100(existing: FileDescriptorProto, tmp_path: Path) -> None:
    """Below that the numbers belong to the contract that existing clients come from."""
    ours = described(PROTOS, tmp_path / "ours")

    def fields(message: DescriptorProto) -> dict[int, tuple[str, int, str]]:
        return {f.number: (f.name, f.type, f.type_name) for f in message.field if f.number < 100}

    messages = {message.name: message for message in ours.message_type}
    for message in existing.message_type:
        assert fields(messages[message.name]) == fields(message)
    enums = {enum.name: enum for enum in ours.enum_type}
    for enum in existing.enum_type:
        low = {v.number: v.name for v in enums[enum.name].value if v.number < 100}
        assert low == {v.number: v.name for v in enum.value}


def test_existing_clients_read_what_we_write(existing: FileDescriptorProto) -> None:
    """With their own messages: every value that they know, and nothing in its way."""
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(existing)
    theirs = GetMessageClass(pool.FindMessageTypeByName("cream.v1.StreamQuotesResponse"))
    item = {
        "T": "q",
        "S": "AAPL",
        "bp": 1.5,
        "bs": 2**40,
        "c": ["R"],
        "t": to_timestamp(10**18 + 1),
    }
    tail = feed_fields("01J", "alpaca")
    (message,) = encode_batch("StreamQuotes", [MSGPACK.encode(item)], [7], tail, 10**18)
    read = theirs.FromString(message[5:])
    assert MessageToDict(read, preserving_proto_field_name=True) == {
        "quote": {
            "symbol": "AAPL",
            "timestamp": "2001-09-09T01:46:40.000000001Z",
            "bid_price": 1.5,
            "bid_size": 2**31 - 1,
            "conditions": ["R"],
        }
    }
    request = GetMessageClass(pool.FindMessageTypeByName("cream.v1.StreamOptionQuotesRequest"))
    asked = request(underlyings=["AAPL"]).SerializeToString()
    assert list(pb.StreamOptionQuotesRequest.FromString(asked).underlyings) == ["AAPL"]


def test_every_stream_has_an_encoder_or_is_about_orders() -> None:
    methods = pb.DESCRIPTOR.services_by_name["StreamProxyService"].methods
    for method in methods:
        if method.server_streaming and method.name != "StreamOrderUpdates":
            assert encoder_for(method.name).method == method.name
    with pytest.raises(KeyError):
        encoder_for("StreamOrderUpdates")


def test_every_method_is_explained() -> None:
    page = (ROOT / "docs" / "grpc.md").read_text()
    for method in pb.DESCRIPTOR.services_by_name["StreamProxyService"].methods:
        assert f"`{method.name}`" in page


def test_what_is_beside_an_item_has_the_same_numbers_everywhere() -> None:
    """One way to write it serves all responses."""
    methods = pb.DESCRIPTOR.services_by_name["StreamProxyService"].methods
    numbers = {
        tuple((name, method.output_type.fields_by_name[name].number) for name in BESIDE)
        for method in methods
        if method.server_streaming
    }
    assert numbers == {tuple(zip(BESIDE, range(100, 106), strict=True))}


def test_the_exact_twin_of_a_size_is_a_hundred_above_it() -> None:
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            if field.name.endswith("_exact"):
                plain = message.fields_by_name[field.name.removesuffix("_exact")]
                assert field.number == 100 + plain.number
