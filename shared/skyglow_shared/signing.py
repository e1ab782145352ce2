# SPDX-License-Identifier: Apache-2.0
"""Ed25519 identities: one key file, sign, verify.

Every signature is over a domain prefix and the SHA-256 of the exact bytes: Ed25519 itself would read a long message
twice, by a slower hash.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skyglow_shared.errors import FormatError, SignatureError
from skyglow_shared.files import write_atomically, write_first

STUDY = b"skyglow-study-v2\0"
APPROVAL = b"skyglow-approval-v2\0"
REQUEST = b"skyglow-request-v2\0"
REPLY = b"skyglow-reply-v2\0"


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A private signing key. Its `repr` shows the public key only."""

    key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "Identity":
        """Make a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "Identity":
        """Read a key file; FormatError if it is missing or is not a 32-byte key in hex."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip())))
        except (OSError, ValueError) as error:
            message = f"{path.name} is not a readable key file ({type(error).__name__}); restore it from your backup"
            raise FormatError(message) from None

    def save(self, path: Path) -> None:
        """Write the key file, readable by its owner only."""
        write_atomically(path, self._content, mode=0o600)

    @property
    def _content(self) -> bytes:
        return self.key.private_bytes_raw().hex().encode()

    @property
    def public_key(self) -> str:
        """The public key in hex, as rosters and policies write it."""
        return self.key.public_key().public_bytes_raw().hex()

    def sign(self, domain: bytes, body: bytes) -> bytes:
        """Sign `body` for one purpose, named by `domain`."""
        return self.key.sign(_signed(domain, body))

    def __repr__(self) -> str:
        return f"Identity({self.public_key})"


def load_or_generate(path: Path) -> Identity:
    """Load the identity at `path`, making it first where there is none."""
    if not path.exists():
        write_first(path, Identity.generate()._content, mode=0o600)  # of two processes both get the first one's
    return Identity.load(path)


def secret_bytes(path: Path, size: int = 32) -> bytes:
    """Load a secret of `size` bytes, making it first from the operating system's randomness where there is none."""
    if not path.exists():
        write_first(path, os.urandom(size), mode=0o600)
    return kept_secret(path, size)


def kept_secret(path: Path, size: int = 32) -> bytes:
    """Load a secret of `size` bytes that was made before; FormatError if it is gone: another would fit nothing here."""
    try:
        secret = path.read_bytes()
    except OSError as error:
        message = f"{path.name} cannot be read ({type(error).__name__}); restore it from your backup"
        raise FormatError(message) from None
    if len(secret) != size:
        raise FormatError(f"{path.name} must hold {size} bytes; restore it from your backup")
    return secret


def verify(public_key: str, domain: bytes, body: bytes, signature: bytes, *, what: str) -> None:
    """Raise SignatureError unless `signature` over `body` is by `public_key`; `what` names the thing in the message."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, _signed(domain, body))
    except (InvalidSignature, ValueError):
        raise SignatureError(f"{what} is not signed by the key it should be; check who sent it") from None


def _signed(domain: bytes, body: bytes) -> bytes:
    return domain + hashlib.sha256(body).digest()
