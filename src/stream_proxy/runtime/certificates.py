"""TLS for the listening side: certificate files, or a self-signed certificate made on demand.

JavaScript SDK 3 insists on ``wss``; with a self-signed certificate it is told to trust the file
through ``NODE_EXTRA_CA_CERTS``.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID_DAYS = 365
_RENEW_DAYS_BEFORE = 30


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for serving, TLS 1.2 and later.

    Raises:
        OSError, ssl.SSLError: the files can't be read or don't belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def grpc_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """A context for HTTP/2; with ``client_ca`` only clients that it signed are let in.

    Raises:
        OSError, ssl.SSLError: a file can't be read, or they don't belong together.
    """
    context = server_context(certificate, key)
    context.set_alpn_protocols(["h2"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def self_signed(folder: Path, names: Sequence[str], now: datetime.datetime) -> tuple[Path, Path]:
    """A certificate for these names and its key, made anew only when missing or nearly expired."""
    certificate, key = folder / "self-signed.pem", folder / "self-signed.key"
    if not (key.is_file() and certificate.is_file() and _good(certificate, names, now)):
        _make(certificate, key, names, now)
    return certificate, key


def _good(path: Path, names: Sequence[str], now: datetime.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    left = certificate.not_valid_after_utc - now
    return left.days > _RENEW_DAYS_BEFORE and set(_alternatives(names)) <= set(alternatives)


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _make(certificate: Path, key: Path, names: Sequence[str], now: datetime.datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alpaca-stream-proxy")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    key.parent.mkdir(parents=True, exist_ok=True)
    # Born unreadable to others: a chmod afterwards would leave a moment in between.
    key.unlink(missing_ok=True)
    handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
