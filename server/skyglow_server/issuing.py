# SPDX-License-Identifier: Apache-2.0
"""The parts of a certificate that an office makes."""

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_SLACK = timedelta(minutes=5)  # clocks differ
_NEVER = datetime.max.replace(tzinfo=UTC)


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    start: datetime | None = None,
    *,
    latest: datetime = _NEVER,
) -> x509.CertificateBuilder:
    """A certificate without what it is for; it begins a little early, and ends at `latest` at the latest."""
    begin = (start or datetime.now(UTC)) - _SLACK
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(begin + timedelta(days=days), latest))
    )


def subject(name: str) -> x509.Name:
    """A name as certificates bear it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def alternative(name: str, *, server: bool) -> x509.GeneralName:
    """The alternative name: of a server its address, of a supplier its name."""
    if server:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            pass
    return x509.DNSName(name)


def usage(*, authority: bool) -> x509.KeyUsage:
    """What the key may do: sign certificates, or messages."""
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
