# SPDX-License-Identifier: Apache-2.0
"""Preflight at a supplier: everything that serving needs, looked at one by one, each with what to do about it.

Nothing is sent but a TLS handshake to the office of the kit, and nothing is read of homes.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from skyglow_client.commands.terminal import name_in
from skyglow_client.gate.policy import load_policy
from skyglow_client.links.handshake import shake_hands
from skyglow_client.serve import KIT_FOLDER
from skyglow_shared import certificates, link
from skyglow_shared.errors import FormatError, RunError, SkyglowError
from skyglow_shared.files import write_atomically
from skyglow_shared.link import Kit
from skyglow_shared.signing import Identity, load_or_generate, secret_bytes

_LEAST_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what, whether it is well, and what was found or is to be done."""

    what: str
    well: bool
    words: str


def accept_kit(kit: Path, folder: Path) -> Kit:
    """Check a kit and put it into a supplier's folder; make the supplier's keys and name where there are none.

    Raises
    ------
    FormatError
        A file of the kit is missing, was changed on its way, or does not belong to the others.
    RunError
        The folder is another supplier's.
    """
    sums = kit / link.SUMS_FILE
    if not sums.exists():
        raise FormatError(f"the kit has no {link.SUMS_FILE}; ask the office for a new one")
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    wanted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in link.KIT_FILES:
        path = kit / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted.get(name):
            raise FormatError(f"{name} of the kit is missing or was changed on its way; ask the office for a new one")
    told = link.load_kit(kit)
    _check_certificate(kit, told)
    named = folder / "supplier.toml"
    if named.exists() and name_in(folder) != told.name:
        raise RunError(f"the kit is for {told.name}, and this folder is another supplier's; choose its own folder")
    load_or_generate(folder / "identity.key")
    secret_bytes(folder / "pseudonym.key")
    write_atomically(named, f'name = "{told.name}"\n'.encode())
    for name in link.KIT_FILES:
        mode = 0o600 if name == link.PRIVATE_FILE else 0o644
        write_atomically(folder / KIT_FOLDER / name, (kit / name).read_bytes(), mode=mode)
    return told


def accept_authorities(file: Path, folder: Path) -> str:
    """Put an office's next authorities into a supplier's folder, if its office signed them; say until when they hold.

    Raises
    ------
    FormatError, SignatureError
        It is no such file, is older than what the folder has, or is not by the office of the policy.
    """
    held = folder / KIT_FOLDER / link.AUTHORITY_FILE
    office_key = load_policy(folder / "policy.toml").office_key
    text = certificates.opened_authorities(file.read_bytes(), office_key, held.read_bytes())
    write_atomically(held, text)
    ends = [str(one.not_valid_after_utc.date()) for one in x509.load_pem_x509_certificates(text)]
    return f"authorities until {', '.join(ends)}"


def examine(folder: Path) -> Iterator[Finding]:
    """Look at everything that serving needs."""
    checks: tuple[tuple[str, Callable[[Path], str]], ...] = (
        ("name", name_in),
        ("keys", _keys),
        ("policy", _policy),
        ("kit", _kit),
        ("store", _store),
        ("disk", _disk),
        ("link", _link),
    )
    for what, check in checks:
        try:
            yield Finding(what, well=True, words=check(folder))
        except SkyglowError as error:
            yield Finding(what, well=False, words=str(error))
        except (OSError, ValueError, KeyError) as error:
            yield Finding(what, well=False, words=f"cannot be read ({type(error).__name__}); see that it is there")


def _keys(folder: Path) -> str:
    secrets = [folder / "identity.key", folder / "pseudonym.key", folder / KIT_FOLDER / link.PRIVATE_FILE]
    for path in secrets:
        if path.exists() and path.stat().st_mode & 0o077:
            raise FormatError(f"{path.name} can be read by others; run: chmod 600 {path.name}")
    return f"public key {Identity.load(secrets[0]).public_key}"


def _policy(folder: Path) -> str:
    policy = load_policy(folder / "policy.toml")
    return f"epsilon {policy.epsilon:g} in {policy.window_days} days"


def _kit(folder: Path) -> str:
    told = link.load_kit(folder / KIT_FOLDER)
    if told.name != name_in(folder):
        raise RunError("the kit is another supplier's; run `skyglow supplier init` with your own")
    if told.office_key != load_policy(folder / "policy.toml").office_key:
        raise RunError("the kit is of another office than policy.toml allows; ask the office for its key")
    ends = _check_certificate(folder / KIT_FOLDER, told)
    return f"for the office at {told.address}; its certificate ends on {ends.date()}"


def _check_certificate(kit: Path, told: Kit) -> datetime:
    """When a kit's certificate ends; FormatError unless it belongs to the other parts, and holds for a while yet."""
    try:
        certificate = x509.load_pem_x509_certificate((kit / link.CERTIFICATE_FILE).read_bytes())
        authorities = x509.load_pem_x509_certificates((kit / link.AUTHORITY_FILE).read_bytes())
        private = load_pem_private_key((kit / link.PRIVATE_FILE).read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FormatError("a certificate or key of the kit is none; ask the office for a new kit") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = [str(item.value) for item in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    authority = next((one for one in authorities if _issued(certificate, one)), None)
    if authority is None:
        raise FormatError("the kit's certificate is not of its authority; ask the office for a new kit")
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form) or names != [told.name]:
        raise FormatError("the parts of the kit do not belong together; ask the office for a new kit")
    now = datetime.now(UTC)
    if now + certificates.SOON > authority.not_valid_after_utc:
        raise FormatError("the kit's authority has ended or ends within 30 days; ask the office for its next")
    if now < certificate.not_valid_before_utc:
        raise FormatError("the kit's certificate begins in the future; put this machine's clock right")
    if now + certificates.SOON > certificate.not_valid_after_utc:
        raise FormatError("the kit's certificate has ended or ends within 30 days; ask the office to enrol you again")
    return certificate.not_valid_after_utc


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # the library raises several kinds
        return False
    return True


def _store(folder: Path) -> str:
    if not (folder / "store" / "meta.json").exists():
        raise RunError("no readings are loaded; `skyglow supplier load` does that")
    return "readings are loaded"


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_BYTES:
        raise RunError("less than 1 GiB is free; without room nothing is charged and nothing is answered")
    return f"{free / 2**30:.0f} GiB free"


def _link(folder: Path) -> str:
    kit = folder / KIT_FOLDER
    return f"the office answers, {shake_hands(kit, link.load_kit(kit).address)}"
