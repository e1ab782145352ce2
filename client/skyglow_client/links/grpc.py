# SPDX-License-Identifier: Apache-2.0
"""gRPC as a carrier: a supplier dials out to its office over mutual TLS and answers what it is asked.

The only module of the client that knows gRPC. Nothing listens at a supplier: it opens one stream to the office, says
who it is, and answers one request at a time until it is told to stop. When the link breaks it dials again, later and
later, at moments that differ from supplier to supplier. Nothing is kept here: a request whose reply was lost is simply
asked again, and the supplier answers it with the same bytes. `skyglow_server.links.grpc` is the other end.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import grpc  # type: ignore[import-untyped]

from skyglow_shared import link
from skyglow_shared.errors import ProtocolError
from skyglow_shared.link import Assembly, Challenge, Kit, Part, Welcome
from skyglow_shared.signing import Identity

_log = logging.getLogger(__name__)
_OPTIONS = (*link.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
_GOODBYE_SECONDS = 5.0
_MOST_WAITING = 64  # pieces of replies that the office has not taken: as many as the largest message has
_LOOK_SECONDS = 0.05

#: Why a link can end, in words of our own: what the office writes beside a status is not repeated in a log.
_REASONS = {
    "OK": "the office closed it",
    "UNAVAILABLE": "the office cannot be reached, or one side does not accept the other's certificate",
    "PERMISSION_DENIED": "the office does not know this supplier's certificate, or has revoked it",
    "UNAUTHENTICATED": "the office does not accept this supplier's identity key",
    "ABORTED": "another process has connected in this supplier's name",
    "INVALID_ARGUMENT": "the office could not read what was sent; check both sides' versions",
    "RESOURCE_EXHAUSTED": "the office holds too many links, or a frame was too large",
    "CANCELLED": "it was cut",
}


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Three PEM texts: the office's authority, this supplier's certificate, and that certificate's private key."""

    authority: bytes
    certificate: bytes
    private: bytes


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before dialling again.

    Attributes
    ----------
    first, longest : float
        Seconds after the first failure, and at most; each failure doubles the wait, and chance takes up to half off.
    steady : float
        A link that held for so many seconds was a good one: the waits begin anew.
    """

    first: float = 0.5
    longest: float = 30.0
    steady: float = 10.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        whole = min(self.longest, self.first * 2.0 ** min(failures, 20))
        return whole * (0.5 + secrets.randbelow(1000) / 2000)


_PATIENCE = Patience()


def untold(connected: bool) -> None:
    """Hear whether the office is connected, and do nothing."""


@dataclass(slots=True)
class _Session:
    """One stream: what is to be sent, and whose turn it is to finish."""

    outgoing: SimpleQueue[bytes | None] = field(default_factory=SimpleQueue)
    turn: threading.Lock = field(default_factory=threading.Lock)


def serve(
    handle: Callable[[bytes], bytes],
    identity: Identity,
    kit: Kit,
    credentials: Credentials,
    *,
    stop: threading.Event,
    patience: Patience = _PATIENCE,
    told: Callable[[bool], None] = untold,
) -> None:
    """Answer the office's requests until `stop` is set; a request that is being answered is answered first.

    Parameters
    ----------
    handle : callable
        `Supplier.handle`: sealed request in, sealed reply out; called in this thread, one request at a time.
    identity : Identity
        The supplier's own; signs the office's challenge.
    kit : Kit
    credentials : Credentials
    stop : threading.Event
    patience : Patience
    told : callable
        Told True when the office has let this supplier in, and False when the link has ended.

    Privacy
    -------
    What leaves is what `handle` returns, and the supplier's name and signature. The log holds neither.
    """
    failures = 0
    # made once: gRPC does not give back all the memory of each
    tls = grpc.ssl_channel_credentials(credentials.authority, credentials.private, credentials.certificate)
    while not stop.is_set():
        begun = time.monotonic()
        reason = _dial(handle, identity, kit, tls, stop, told=told)
        told(False)
        if stop.is_set():
            break
        failures = 0 if time.monotonic() - begun > patience.steady else failures + 1
        wait = patience.wait(failures)
        _log.warning("the link to the office ended: %s; dialling again in %.1f s", reason, wait)
        stop.wait(wait)
    _log.info("stopped")


def _dial(
    handle: Callable[[bytes], bytes],
    identity: Identity,
    kit: Kit,
    tls: Any,  # noqa: ANN401 - gRPC is untyped
    stop: threading.Event,
    *,
    told: Callable[[bool], None],
) -> str:
    """Hold one stream for as long as it lasts; return why it ended."""
    session = _Session()
    with grpc.secure_channel(kit.address, tls, options=_OPTIONS) as channel:
        call = channel.stream_stream(link.METHOD)(iter(session.outgoing.get, None))
        threading.Thread(target=_finish_at, args=(stop, session, call), daemon=True).start()
        try:
            _converse(handle, identity, kit, call, session, told=told)
            return _reason(call.code().name)
        except grpc.RpcError as error:
            return _reason(error.code().name)
        except ProtocolError as error:
            return str(error)
        finally:
            call.cancel()
            session.outgoing.put(None)  # lets go of gRPC's sending thread


def _converse(
    handle: Callable[[bytes], bytes],
    identity: Identity,
    kit: Kit,
    frames: Any,  # noqa: ANN401 - gRPC is untyped: a call, whose frames it gives one after another
    session: _Session,
    *,
    told: Callable[[bool], None],
) -> None:
    challenge = _next(frames)
    if not isinstance(challenge, Challenge):
        raise ProtocolError("the office did not begin with a challenge; check the address, and both sides' versions")
    session.outgoing.put(link.encode(link.hello(kit, identity, challenge)))
    if not isinstance(_next(frames), Welcome):
        raise ProtocolError("the office did not answer the hello; check both sides' versions")
    _log.info("connected to the office")
    told(True)
    assembly = Assembly()
    for frame in frames:
        part = link.decode(frame)
        if not isinstance(part, Part):
            raise ProtocolError("the office sent something other than a request; check both sides' versions")
        request = assembly.add(part)
        if request is not None and _has_room(session, frames):
            with session.turn:
                for piece in link.parts(part.exchange, handle(request)):
                    session.outgoing.put(piece)


def _has_room(session: _Session, call: Any) -> bool:  # noqa: ANN401 - gRPC is untyped
    """Wait until the office has taken what it asked for before; False if the link ends first.

    An office that asks on and on and takes nothing would have the replies fill this machine's memory.
    """
    while session.outgoing.qsize() > _MOST_WAITING and call.is_active():
        time.sleep(_LOOK_SECONDS)
    return bool(call.is_active())


def _next(frames: Iterator[bytes]) -> object:
    try:
        return link.decode(next(frames))
    except StopIteration:
        raise ProtocolError("the office closed the link before it began; its own log says why") from None


def _finish_at(stop: threading.Event, session: _Session, call: Any) -> None:  # noqa: ANN401 - gRPC is untyped
    """When `stop` is set: let a reply that is being made go out, say goodbye, and cut the line if that takes long."""
    while not stop.wait(0.25):
        if not call.is_active():
            return
    with session.turn:
        session.outgoing.put(None)
    deadline = time.monotonic() + _GOODBYE_SECONDS
    while call.is_active() and time.monotonic() < deadline:
        time.sleep(0.02)
    call.cancel()


def _reason(status: str) -> str:
    return _REASONS.get(status, f"gRPC says {status}")
