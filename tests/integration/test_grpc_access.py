"""Who may call gRPC: tokens, TLS with our certificate, and with the client's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc.aio import AioRpcError, Channel, Metadata

from harness.grpc_service import (
    assert_nothing_unforeseen,
    channel,
    nothing_left,
    proxy,
    reason,
    status,
    trades,
)
from harness.raw_grpc import SERVICE
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "2000", "--symbols", "20") as process:
        yield process


@pytest.fixture(autouse=True)
def _nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No caller may bring the server to an error that nobody foresaw."""
    yield
    assert_nothing_unforeseen(caplog)


# Who may come in

TOKENS = [{"name": "bots", "key": "bot-key", "secret": "a-secret-of-the-bots"}]
RIGHT: list[tuple[tuple[str, str], ...]] = [
    (("apca-api-key-id", "bot-key"), ("apca-api-secret-key", "a-secret-of-the-bots")),
    (("authorization", "Bearer a-secret-of-the-bots"),),
    (
        (
            "authorization",
            "Basic " + base64.b64encode(b"bot-key:a-secret-of-the-bots").decode(),
        ),
    ),
]
WRONG: list[tuple[tuple[str, str], ...]] = [
    (),
    (("apca-api-key-id", "bot-key"),),
    (("apca-api-key-id", "bot-key"), ("apca-api-secret-key", "a-secret-of-the-bats")),
    (("authorization", "Bearer bot-key"),),
    (("authorization", "Bearer "),),
    (("authorization", "Basic !!!"),),
    (("authorization", "Bearer a-secret-of-the-bots"), ("authorization", "Bearer x")),
]


async def test_tokens_open_every_method(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, access_tokens=TOKENS) as app, channel(app) as mine:
        for metadata in RIGHT:
            assert await status(mine, metadata=metadata)
            call = trades(mine, metadata=metadata)
            await call.read()
            (served,) = app.grpc.outlet.calls
            assert served.identity == "bots"
            call.cancel()
            await eventually(lambda: not app.grpc.outlet.calls)


async def test_without_a_token_nothing_is_told(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, access_tokens=TOKENS, orders="on") as app, channel(app) as mine:
        for metadata in WRONG:
            for method in ("GetConnectionStatus", "StreamTrades", "StreamOrderUpdates"):
                call = mine.unary_stream(f"{SERVICE}/{method}")(b"", metadata=Metadata(*metadata))
                with pytest.raises(AioRpcError) as refused:
                    await call.read()
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, metadata
                assert reason(refused.value) == "UNAUTHENTICATED"
                assert "a-secret" not in refused.value.details()
        assert app.grpc.outlet.counts.authentications_failed == len(WRONG) * 3


# TLS


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for a host or client of this name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            self._builder(subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(_pem(made))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def secure(app: App, root: Path, client: tuple[Path, Path] | None = None) -> Channel:
    certificate, key = client or (None, None)
    credentials = grpc.ssl_channel_credentials(
        root.read_bytes(),
        key.read_bytes() if key else None,
        certificate.read_bytes() if certificate else None,
    )
    name = (("grpc.ssl_target_name_override", "localhost"),)
    return grpc.aio.secure_channel(app.grpc_address, credentials, options=name)


async def refused(channel: Channel) -> bool:
    """Whether the client isn't let in."""
    try:
        await asyncio.wait_for(trades(channel).read(), 10)
    except AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_tls_with_our_own_certificate(alpaca: SimulatorProcess) -> None:
    settings = {"grpc_tls": True, "tls_self_signed": True, "tls_port": 0}
    async with proxy(alpaca, **settings) as app:
        assert app.certificate is not None
        async with secure(app, app.certificate) as mine:
            call = trades(mine)
            first = await call.read()
            assert (await call.read()).sequence > first.sequence
            call.cancel()
        async with channel(app) as plain:
            assert await refused(plain)
        await nothing_left(app)


async def test_mutual_tls(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Only clients that the configured authority signed are let in."""
    servers, clients, others = (Authority(tmp_path, n) for n in ("servers", "clients", "others"))
    certificate, key = servers.issue("localhost")
    settings = {
        "grpc_tls": True,
        "tls_certificate": certificate,
        "tls_key": key,
        "tls_port": 0,
        "grpc_client_ca": clients.path,
    }
    async with proxy(alpaca, **settings) as app:
        async with secure(app, servers.path, clients.issue("bot")) as mine:
            call = trades(mine)
            assert await call.read()
            async with secure(app, servers.path) as nobody:
                assert await refused(nobody)
            async with secure(app, servers.path, others.issue("stranger")) as stranger:
                assert await refused(stranger)
            assert await call.read()
            call.cancel()
        assert app.grpc.outlet.counts.accepted == 1


async def test_a_broken_tls_handshake_costs_nothing(alpaca: SimulatorProcess) -> None:
    settings = {"grpc_tls": True, "tls_self_signed": True, "tls_port": 0}
    async with proxy(alpaca, consumer_handshake_seconds=1, **settings) as app:
        host, port = app.grpc_address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert not await reader.read(), "who says nothing isn't waited for"
        writer.close()
        for said in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(500)):
            with socket.create_connection((host, int(port)), 5) as plain:
                plain.sendall(said)
        assert app.certificate is not None
        async with secure(app, app.certificate) as mine:
            assert await trades(mine).read()
        await eventually(lambda: not app.grpc._server.peers)  # type: ignore[union-attr]
