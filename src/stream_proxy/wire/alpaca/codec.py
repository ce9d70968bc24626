"""HOT PATH. Split a frame into items without decoding them, and join items into a frame.

What is only carried is never decoded: of each item the type ``T`` and the symbol ``S`` are read,
and the item's own bytes go out again. Two passes in C (heads, then slices) cost about 300 ns an
item together; one pass over decoded dictionaries costs 1,300 ns and loses the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.msgpack import Ext

from stream_proxy.model.time import TIMESTAMP_CODE, rfc3339, timestamp_ns
from stream_proxy.wire.alpaca.walk import COMPILED, walk

Item: TypeAlias = "msgspec.Raw | bytes"


class Head(msgspec.Struct, gc=False):
    """What routing needs to know of an item."""

    T: str
    S: str = ""


class NewsHead(msgspec.Struct, gc=False):
    """News has no ``S``: it goes to whoever wants any of its symbols."""

    T: str
    symbols: list[str] = []


Columns: TypeAlias = tuple[list[str], list[Any], list[Any]]
"""Types, symbols (of news: lists of symbols) and items of a frame, all of the same length."""


class FrameDamaged(ValueError):
    """A frame that can't be split; the message says what the codec found."""


class Splitter:
    """Splits whole frames of one codec into columns.

    Args:
        heads: decodes a frame into the heads of its items.
        items: decodes a frame into its raw items.
        text: items travel in text frames. The decoders skip what they don't read without looking
            at its encoding, but a client has to hang up on text that isn't UTF-8.
    """

    __slots__ = ("_heads", "_text", "items")

    def __init__(
        self,
        heads: Callable[[bytes], list[Any]],
        items: Callable[[bytes], list[msgspec.Raw]],
        text: bool,
    ) -> None:
        self._heads = heads
        self._text = text
        self.items = items

    def split_all(self, payloads: Sequence[bytes]) -> Columns:
        """Give the types, the symbols and the raw items of the frames of one socket read.

        Frame by frame: as one array they would be a little faster, but a damaged frame could then
        swallow the beginning of its neighbour.

        Raises:
            FrameDamaged: one of them can't be split.
        """
        if len(payloads) == 1:
            return self.split(payloads[0])
        types: list[str] = []
        symbols: list[Any] = []
        items: list[Any] = []
        for payload in payloads:
            more_types, more_symbols, more_items = self.split(payload)
            types += more_types
            symbols += more_symbols
            items += more_items
        return types, symbols, items

    def split(self, payload: bytes) -> Columns:
        """Give the types, the symbols and the raw items of one frame.

        Raises:
            FrameDamaged: the frame is not an array of maps with string ``T``; see ``salvage.py``.
        """
        try:
            if self._text and not payload.isascii():
                payload.decode()
            heads = self._heads(payload)
            return [head.T for head in heads], self._symbols(heads), self.items(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameDamaged(str(error)) from error

    def _symbols(self, heads: list[Any]) -> list[Any]:
        return [head.S for head in heads]


class WalkingSplitter(Splitter):
    """Splits what `walk` knows by walking, and the rest as every splitter does."""

    __slots__ = ()

    def split_all(self, payloads: Sequence[bytes]) -> Columns:
        walked = walk(payloads)
        return super().split_all(payloads) if walked is None else walked


class NewsSplitter(Splitter):
    """Splits frames of news, whose second column is each article's list of symbols."""

    __slots__ = ()

    def _symbols(self, heads: list[Any]) -> list[Any]:
        return [head.symbols for head in heads]


def text_of(value: object) -> object:
    """Write what JSON has no form for; the encoder's hook.

    Raises:
        NotImplementedError: an extension that isn't a timestamp.
    """
    if isinstance(value, Ext) and value.code == TIMESTAMP_CODE:
        return rfc3339(timestamp_ns(value))
    raise NotImplementedError(f"JSON has no form for {type(value).__name__}")


_json_encoder = msgspec.json.Encoder(enc_hook=text_of)
_msgpack_encoder = msgspec.msgpack.Encoder()


class Codec:
    """One of Alpaca's two encodings: how frames are cut, joined, and made."""

    __slots__ = ("_any", "_fields", "binary", "encode", "name", "news", "ticks")

    def __init__(
        self,
        name: str,
        binary: bool,
        encode: Callable[[Any], bytes],
        ticks: Splitter,
        news: Splitter,
        any_value: Callable[[Any], Any],
        fields: Callable[[Item], dict[str, Any]],
    ) -> None:
        self.name = name
        self.binary = binary
        self.encode = encode
        self.ticks = ticks
        self.news = news
        self._any = any_value
        self._fields = fields

    def __repr__(self) -> str:
        return f"<codec {self.name}>"

    def decode(self, payload: bytes | msgspec.Raw) -> Any:
        """Decode one document of any shape: control messages and requests.

        Raises:
            FrameDamaged: the bytes are not one document of this codec.
        """
        try:
            return self._any(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise FrameDamaged(str(error)) from error

    def decode_fields(self, item: Item) -> dict[str, Any]:
        """Decode one data item with its times intact (text or timestamp extension).

        Raises:
            FrameDamaged: the bytes are not one map of this codec.
        """
        try:
            return self._fields(item)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise FrameDamaged(str(error)) from error

    def join(self, items: Sequence[Item]) -> bytes:
        """Make one array of already encoded items."""
        if self.binary:
            return array_header(len(items)) + b"".join(items)
        return b"[" + b",".join(items) + b"]"


def array_header(count: int) -> bytes:
    """The msgpack array header (specification, "Array format family")."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


_items = list[msgspec.Raw]

# msgspec turns timestamps into datetime, and so into microseconds, wherever a plain value is
# allowed; naming Ext in the union is what keeps the nanoseconds.
Fields = dict[str, bool | int | float | str | list[Any] | dict[str, Any] | Ext | None]

JSON = Codec(
    "json",
    False,
    _json_encoder.encode,
    Splitter(msgspec.json.Decoder(list[Head]).decode, msgspec.json.Decoder(_items).decode, True),
    NewsSplitter(
        msgspec.json.Decoder(list[NewsHead]).decode, msgspec.json.Decoder(_items).decode, True
    ),
    msgspec.json.Decoder().decode,
    msgspec.json.Decoder(dict[str, Any]).decode,
)

MSGPACK = Codec(
    "msgpack",
    True,
    _msgpack_encoder.encode,
    (WalkingSplitter if COMPILED else Splitter)(
        msgspec.msgpack.Decoder(list[Head]).decode, msgspec.msgpack.Decoder(_items).decode, False
    ),
    NewsSplitter(
        msgspec.msgpack.Decoder(list[NewsHead]).decode,
        msgspec.msgpack.Decoder(_items).decode,
        False,
    ),
    msgspec.msgpack.Decoder().decode,
    msgspec.msgpack.Decoder(Fields).decode,
)

CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}
