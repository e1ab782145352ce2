# SPDX-License-Identifier: Apache-2.0
"""The office's folder: its signing key, its certificate authority, and whom it has enrolled.

::

    office.toml      identity.key     the office's address and Ed25519 signing key
    ca.pem ca.key                     the authority that signs certificates; its key is needed only to enrol.
                                      While two overlap, ca.pem holds both, the newest first
    server.pem server.key             what the office shows to suppliers
    suppliers/NAME.json               name, identity key and certificate of each enrolled supplier
    kits/NAME/                        what is handed to the supplier
    kits/authorities.json             what is handed to all when the authority is a new one

Keys of certificates are P-256: gRPC's TLS does not take Ed25519 ones.
"""

import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skyglow_server import issuing, settings
from skyglow_server.settings import Settings
from skyglow_shared import link
from skyglow_shared.certificates import AUTHORITY_SOON, Watched, end_of, signed_authorities
from skyglow_shared.errors import FormatError, RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.link import Kit
from skyglow_shared.signing import Identity

AUTHORITY_DAYS = 5 * 365
CERTIFICATE_DAYS = 397
#: The office's own, by what they are called in warnings and metrics.
CERTIFICATES = {"authority": "ca.pem", "office": "server.pem"}


class Enrolled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A supplier that may connect: its identity key (hex), its one valid certificate's SHA-256 (hex), and its end."""

    name: str
    public_key: str
    certificate: str
    revoked: bool = False
    ends: str = ""


def init(folder: Path, address: str) -> None:
    """Make an office: signing key, authority, and a certificate for the host of `address`.

    Raises
    ------
    FormatError
        `address` is not a host and a port.
    RunError
        The folder holds an office already.
    """
    link.check_address(address)
    if (folder / settings.FILE).exists():
        raise RunError(f"{folder} holds an office already; choose another folder")
    if not (folder / "identity.key").exists():
        Identity.generate().save(folder / "identity.key")
    _found(folder, former=b"")
    _certify(folder, address)
    settings.save(folder, Settings(address=address))


def _found(folder: Path, *, former: bytes, days: int = AUTHORITY_DAYS) -> None:
    """Make an authority; the former ones (PEM) are believed beside it for as long as they last."""
    key = ec.generate_private_key(ec.SECP256R1())
    # never two of one name: who looks for a certificate's issuer looks by name
    subject = issuing.subject(f"skyglow office authority {secrets.token_hex(4)}")
    authority = (
        issuing.builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(issuing.usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    older = x509.load_pem_x509_certificates(former) if former else []
    lasting = [one for one in older if one.not_valid_after_utc > datetime.now(UTC)]
    write_atomically(folder / "ca.pem", b"".join(one.public_bytes(Encoding.PEM) for one in (authority, *lasting)))
    write_atomically(folder / "ca.key", issuing.private(key), mode=0o600)


def enrol(folder: Path, name: str, public_key: str) -> Path:
    """Let a supplier connect: make its certificate and return the folder of its kit.

    Enrolling a name again makes its older certificate useless.

    Raises
    ------
    FormatError
        The name or the key cannot be one, or the office's files cannot be read.
    """
    link.check_name(name)
    link.check_key(public_key)
    identity = Identity.load(folder / "identity.key")
    private, certificate = issue(folder, name, server=False)
    kit = folder / "kits" / name
    write_atomically(kit / link.PRIVATE_FILE, private, mode=0o600)
    write_atomically(kit / link.CERTIFICATE_FILE, certificate)
    write_atomically(kit / link.AUTHORITY_FILE, _read(folder / "ca.pem"))
    told = Kit(name=name, address=address_of(folder), office_key=identity.public_key)
    write_atomically(kit / link.KIT_FILE, link.kit_text(told))
    sums = (f"{hashlib.sha256((kit / part).read_bytes()).hexdigest()}  {part}\n" for part in link.KIT_FILES)
    write_atomically(kit / link.SUMS_FILE, "".join(sums).encode())
    ends = _parsed(certificate).not_valid_after_utc.isoformat()
    _save(folder, Enrolled(name=name, public_key=public_key, certificate=fingerprint(certificate), ends=ends))
    return kit


def renew(folder: Path) -> None:
    """Give the office a new certificate for its address, by the same authority; suppliers notice nothing."""
    _certify(folder, address_of(folder))


def renew_authority(folder: Path) -> Path:
    """Make a new authority beside the present one; return the signed file by which suppliers learn of it.

    From now on suppliers are enrolled by the new one, and those of both may connect. The office goes on showing a
    certificate of the former, made anew here, until `renew` is called: suppliers that have not learned of the new one
    accept no other.
    """
    renew(folder)
    _found(folder, former=_read(folder / "ca.pem"))
    file = folder / "kits" / link.NEXT_AUTHORITIES_FILE
    identity = Identity.load(folder / "identity.key")
    write_atomically(file, signed_authorities(_read(folder / "ca.pem"), identity))
    return file


def watched(folder: Path) -> list[Watched]:
    """The certificates of an office whose end matters; one that is missing is for whoever needs it to miss."""
    places = [folder / name for name in CERTIFICATES.values()]
    authority, server = (end_of(place.read_bytes()) if place.exists() else None for place in places)
    suppliers = [
        Watched(f"{name}'s", datetime.fromisoformat(entry.ends), "enrol it again with `skyglow office enrol`")
        for name, entry in admitted(folder).items()
        if entry.ends
    ]
    remedy = "make the next with `skyglow office renew --authority`"
    return [
        Watched("the authority's", authority, remedy, AUTHORITY_SOON),
        Watched("the office's", server, "make another with `skyglow office renew`"),
        *suppliers,
    ]


def _certify(folder: Path, address: str) -> None:
    private, certificate = issue(folder, address.rpartition(":")[0].strip("[]"), server=True)
    write_atomically(folder / "server.key", private, mode=0o600)
    write_atomically(folder / "server.pem", certificate)


def revoke(folder: Path, name: str) -> None:
    """Let a supplier connect no more; RunError if there is none of that name."""
    found = enrolled(folder).get(name)
    if found is None:
        raise RunError("no supplier of that name is enrolled; `skyglow office suppliers` lists them")
    _save(folder, msgspec.structs.replace(found, revoked=True))


def enrolled(folder: Path) -> dict[str, Enrolled]:
    """Everyone who was ever enrolled, by name, revoked ones too."""
    found = {}
    for path in sorted((folder / "suppliers").glob("*.json")):
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=Enrolled)
        except (OSError, msgspec.MsgspecError) as error:
            message = f"suppliers/{path.name} cannot be read ({type(error).__name__}); enrol the supplier again"
            raise FormatError(message) from None
        found[entry.name] = entry
    return found


def admitted(folder: Path) -> dict[str, Enrolled]:
    """Those who may connect now, by name."""
    return {name: entry for name, entry in enrolled(folder).items() if not entry.revoked}


def address_of(folder: Path) -> str:
    """Host and port that suppliers dial."""
    return settings.load(folder).address


def fingerprint(certificate: bytes) -> str:
    """SHA-256 (hex) of a PEM certificate's content; FormatError if it is none."""
    return _parsed(certificate).fingerprint(hashes.SHA256()).hex()


def bearer(certificate: bytes) -> str:
    """The name that a supplier's certificate bears, alike as its subject and its alternative name, or nothing."""
    parsed = _parsed(certificate)
    names = [str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    others = extension.value.get_values_for_type(x509.DNSName)
    return names[0] if len(names) == 1 and names == others else ""


def check_curve(certificate: bytes) -> None:
    """FormatError unless the certificate's key is on an elliptic curve: with one of RSA, older TLS could be spoken."""
    if not isinstance(_parsed(certificate).public_key(), ec.EllipticCurvePublicKey):
        raise FormatError("the office's certificate needs an elliptic-curve key; make one with `skyglow office init`")


def issue(
    folder: Path, name: str, *, server: bool, start: datetime | None = None, days: int = CERTIFICATE_DAYS
) -> tuple[bytes, bytes]:
    """Make a key and a certificate signed by the office's authority; PEM of both."""
    authority = _parsed(_read(folder / "ca.pem"))
    signer = load_pem_private_key(_read(folder / "ca.key"), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise FormatError("ca.key is not an elliptic-curve key; restore it from your backup")
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        issuing.builder(
            issuing.subject(name),
            authority.subject,
            key.public_key(),
            days,
            start,
            latest=authority.not_valid_after_utc,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuing.usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        .add_extension(x509.SubjectAlternativeName([issuing.alternative(name, server=server)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return issuing.private(key), certificate.public_bytes(Encoding.PEM)


def _parsed(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise FormatError(f"a certificate cannot be read ({type(error).__name__}); make it again") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path.name} cannot be read ({type(error).__name__}); make the office with `skyglow office init`"
        raise FormatError(message) from None


def _save(folder: Path, entry: Enrolled) -> None:
    write_atomically(folder / "suppliers" / f"{entry.name}.json", msgspec.json.encode(entry) + b"\n")
