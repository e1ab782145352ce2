# SPDX-License-Identifier: Apache-2.0
"""Keys stay in their files, and a signature is good for one purpose, one body and one key."""

import stat
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared import signing
from skyglow_shared.errors import FormatError, SignatureError
from skyglow_shared.signing import Identity, kept_secret, load_or_generate, secret_bytes, verify

DOMAINS = (signing.STUDY, signing.APPROVAL, signing.REQUEST, signing.REPLY)
IDENTITY = Identity.generate()


@given(st.binary(max_size=100), st.sampled_from(DOMAINS))
def test_what_is_signed_verifies(body, domain):
    verify(IDENTITY.public_key, domain, body, IDENTITY.sign(domain, body), what="it")


@given(st.binary(max_size=100), st.data())
def test_another_body_does_not(body, data):
    other = data.draw(st.binary(max_size=100).filter(lambda other: other != body))
    with pytest.raises(SignatureError):
        verify(IDENTITY.public_key, signing.REPLY, other, IDENTITY.sign(signing.REPLY, body), what="it")


@pytest.mark.parametrize(("signed", "asked"), list(permutations(DOMAINS, 2)))
def test_a_signature_is_good_for_one_purpose(signed, asked):
    with pytest.raises(SignatureError):
        verify(IDENTITY.public_key, asked, b"body", IDENTITY.sign(signed, b"body"), what="it")


def test_no_purpose_is_the_beginning_of_another():
    assert not any(a.startswith(b) for a, b in permutations(DOMAINS, 2))


@pytest.mark.parametrize("key", ["", "zz" * 32, "ab" * 31, "ab" * 33, "00" * 32, "é" * 64])
def test_a_key_that_is_none_is_a_signature_error(key):
    with pytest.raises(SignatureError, match="the reply of north"):
        verify(key, signing.REPLY, b"", IDENTITY.sign(signing.REPLY, b""), what="the reply of north")


@given(st.binary(max_size=70))
def test_a_signature_that_is_none_is_a_signature_error(signature):
    with pytest.raises(SignatureError):
        verify(IDENTITY.public_key, signing.REPLY, b"", signature, what="it")


def test_a_key_survives_its_file_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "keys" / "identity.key"
    first = load_or_generate(path)
    assert load_or_generate(path).public_key == first.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"xyz", b"ab" * 31, b"ab" * 33, b"\xff" * 32])
def test_a_spoiled_key_file_is_a_format_error_that_shows_nothing_of_it(tmp_path, content):
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    with pytest.raises(FormatError) as refused:
        load_or_generate(path)
    assert str(
        refused.value
    ) == "identity.key is not a readable key file (ValueError); restore it from your backup" or (
        "UnicodeDecodeError" in str(refused.value)
    )
    assert path.read_bytes() == content, "a key is never made afresh over a file that is there"


def test_a_missing_key_file_is_a_format_error(tmp_path):
    with pytest.raises(FormatError, match=r"identity\.key"):
        Identity.load(tmp_path / "identity.key")


def test_an_identity_shows_its_public_half_only():
    assert IDENTITY.public_key in repr(IDENTITY)
    assert IDENTITY.key.private_bytes_raw().hex() not in repr(IDENTITY)


def test_a_secret_is_made_once(tmp_path):
    path = tmp_path / "pseudonym.key"
    secret = secret_bytes(path)
    assert len(secret) == 32
    assert secret_bytes(path) == secret
    assert secret != secret_bytes(tmp_path / "other.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FormatError):
        secret_bytes(path, 16)


@pytest.mark.parametrize("make", [lambda path: load_or_generate(path).public_key, secret_bytes])
def test_processes_that_make_a_key_at_once_get_the_same(tmp_path, monkeypatch, make):
    """Each saw that there was none: a key that was told to somebody must not be replaced by another."""
    path, real = tmp_path / "a.key", type(tmp_path).exists
    monkeypatch.setattr(type(tmp_path), "exists", lambda self: self != path and real(self))
    assert make(path) == make(path)


def test_a_secret_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(FormatError, match="backup"):
        kept_secret(tmp_path / "pseudonym.key")
    assert not list(tmp_path.iterdir())
