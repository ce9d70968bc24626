"""HOT PATH. Write upstream's items as gRPC responses: once per item, for all who want it.

Which methods there are, which types of items each takes, and how it writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from stream_proxy.wire.alpaca.codec import Item
from stream_proxy.wire.grpc import messages
from stream_proxy.wire.grpc.framing import grpc_message, item_fields
from stream_proxy.wire.grpc.messages import NotEncodable, build


@dataclass(frozen=True, slots=True)
class Encoder:
    """Writes the responses of one method.

    Attributes:
        method: as the contract calls it, such as ``StreamQuotes``.
        types: the wire letters of the items that it takes.
    """

    method: str
    types: frozenset[str]
    make: Callable[[dict[str, Any]], Message]

    def encode(self, item: Item) -> bytes:
        """Serialize the response to one item in msgpack, without the fields beside the item.

        Raises:
            NotEncodable: it is damaged, of another type, or has a value that the contract can't
                say.
        """
        return build(self.types, self.make, item)


def encode_batch(
    kind: str, items: Sequence[Item], sequences: Sequence[int], tail: bytes, received_ns: int
) -> list[bytes]:
    """Give finished length-prefixed messages, item by item.

    What can't be encoded gives ``b""``, which is no message.

    Args:
        kind: the method.
        items: upstream's items, in msgpack.
        sequences: of each item.
        tail: their `feed_fields`.
        received_ns: when they came in, nanoseconds since 1970.
    """
    encoder = encoder_for(kind)
    made = []
    for item, sequence in zip(items, sequences, strict=True):
        try:
            body = encoder.encode(item)
        except NotEncodable:
            made.append(b"")
        else:
            made.append(grpc_message(body, item_fields(sequence, received_ns, tail)))
    return made


def encoder_for(method: str) -> Encoder:
    """The encoder of a streaming method.

    Raises:
        KeyError: there is no such method, or its stream doesn't carry upstream's items.
    """
    return _ENCODERS[method]


_ENCODERS = {
    method: Encoder(method, frozenset(letter), make)
    for method, letter, make in (
        ("StreamQuotes", "q", messages.quote),
        ("StreamTrades", "t", messages.trade),
        ("StreamBars", "b", messages.bar),
        ("StreamUpdatedBars", "u", messages.bar),
        ("StreamDailyBars", "d", messages.bar),
        ("StreamStatuses", "s", messages.status),
        ("StreamLulds", "l", messages.luld),
        ("StreamCorrections", "c", messages.correction),
        ("StreamCancelErrors", "x", messages.cancel_error),
        ("StreamImbalances", "i", messages.imbalance),
        ("StreamOptionQuotes", "q", messages.option_quote),
        ("StreamOptionTrades", "t", messages.option_trade),
        ("StreamCryptoQuotes", "q", messages.crypto_quote),
        ("StreamCryptoTrades", "t", messages.crypto_trade),
        ("StreamCryptoBars", "b", messages.crypto_bar),
        ("StreamCryptoUpdatedBars", "u", messages.crypto_bar),
        ("StreamCryptoDailyBars", "d", messages.crypto_bar),
        ("StreamCryptoOrderBooks", "o", messages.order_book),
        ("StreamNews", "n", messages.news),
    )
}
