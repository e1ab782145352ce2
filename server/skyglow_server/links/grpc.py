# SPDX-License-Identifier: Apache-2.0
"""gRPC as a carrier: the coordinator's `Federation` over streams that suppliers have opened.

This module and `listening` alone know gRPC in the server. The office listens; suppliers dial in over mutual TLS. Who is
at the other end is established three times over: the certificate is signed by the office's authority and bears an
enrolled name, it is the very certificate that was enrolled, and the first frame is signed by the supplier's identity
over a challenge. `skyglow_client.links.grpc` is the other end, `skyglow_shared.link` what both agree on.
"""

import logging
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from skyglow_server.links.listening import Credentials, listen  # first: it says what TLS gRPC may speak

# isort: split
import grpc  # type: ignore[import-untyped]

from skyglow_server import keys
from skyglow_server.keys import Enrolled
from skyglow_shared import link
from skyglow_shared.errors import ProtocolError, RunError, SignatureError, SkyglowError
from skyglow_shared.link import Assembly, Challenge, Hello, Part, Welcome

_log = logging.getLogger(__name__)
_MOST_GREETINGS = 4  # streams of one certificate that have not said hello yet
_HELLO_SECONDS = 10.0
_STATUS = {ProtocolError: grpc.StatusCode.INVALID_ARGUMENT, SignatureError: grpc.StatusCode.UNAUTHENTICATED}

Roster = Callable[[], Mapping[str, Enrolled]]


@dataclass(slots=True, eq=False)
class _Line:
    """One supplier's stream, and why the office ends it, if it does."""

    name: str
    outgoing: SimpleQueue[bytes | None] = field(default_factory=SimpleQueue)
    fault: tuple[grpc.StatusCode, str] | None = None

    def end(self, status: grpc.StatusCode | None = None, words: str = "") -> None:
        """Let the stream finish after what is queued."""
        if status is not None and self.fault is None:
            self.fault = (status, words)
        self.outgoing.put(None)


@dataclass(slots=True)
class GrpcFederation:
    """Suppliers that dial in. Listens from `start` to `close`; use it as a context manager.

    Parameters
    ----------
    address : str
        Where to listen, host and port; port 0 takes a free one, see `port`.
    credentials : Credentials
    office_key : str
        The office's Ed25519 key in hex: a hello is for one office alone.
    roster : callable
        Gives those who may connect, by name; read at every hello and every `ask`, so that revoking takes effect.
    patience : float
        Seconds that one `ask` waits for suppliers to connect and reply; who has not by then is left out.
    absence : float
        Seconds that anybody waits for a supplier that is not connected, counted from when it left: who is away for long
        holds up one step, not every one.
    """

    address: str
    credentials: Credentials
    office_key: str
    roster: Roster
    patience: float = 600.0
    absence: float = math.inf
    port: int = 0
    _server: Any = None
    _halted: bool = False
    _began: float = 0.0
    _last_seen: dict[str, float] = field(default_factory=dict)
    _lines: dict[str, _Line] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _exchange: int = 0
    _greeting: Counter[str] = field(default_factory=Counter)
    _replies: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> "GrpcFederation":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen, in threads of its own.

        Raises
        ------
        FormatError
            The office's certificate is not one that holds the link to TLS 1.3.
        RunError
            The address cannot be had, or the link would speak older TLS: gRPC was loaded before this module.
        """
        self._began = time.monotonic()
        self._server, self.port = listen(self.address, self.credentials, self._stream)

    def close(self) -> None:
        """Say goodbye to everyone and stop listening."""
        server, self._server = self._server, None
        if server is None:
            return
        with self._changed:
            for line in self._lines.values():
                line.end()
            self._changed.notify_all()
        server.stop(grace=2.0).wait()

    def halt(self) -> None:
        """Have `ask` end at once, now and from now on, with a RunError: the office is told to stop."""
        with self._changed:
            self._halted = True
            self._changed.notify_all()

    def connected(self) -> tuple[str, ...]:
        """Names of the suppliers that are connected now."""
        with self._changed:
            return tuple(sorted(self._lines))

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Send each supplier its request; return the replies of those that answered in time.

        A supplier that connects, or connects anew, while its reply is awaited is asked (again): it answers a request
        it has answered before with the same bytes.

        Raises
        ------
        RunError
            A supplier is not enrolled, or this is not listening.
        """
        self._enforce(requests)
        deadline = time.monotonic() + self.patience
        asked: dict[str, _Line] = {}
        with self._changed:
            self._exchange += 1
            self._replies = {}
            while waiting := sorted(requests.keys() - self._replies.keys()):
                if self._server is None:
                    raise RunError("the office is not listening; start it before asking")
                for name in waiting:
                    line = self._lines.get(name)
                    if line is not None and asked.get(name) is not line:
                        asked[name] = line
                        for frame in link.parts(self._exchange, requests[name]):
                            line.outgoing.put(frame)
                if self._halted:
                    raise RunError("the office was told to stop; it goes on from here when it is started again")
                if (left := self._patient(waiting, deadline) - time.monotonic()) <= 0:
                    _log.warning("no answer in time from %s", ", ".join(waiting))
                    break
                self._changed.wait(left)
            replies = {name: reply for name, reply in self._replies.items() if name in requests}
            self._exchange += 1  # whatever still comes is late
        return replies

    def _patient(self, waiting: list[str], deadline: float) -> float:
        """Until when to wait for the first reply of these; the lock is held."""
        away = [self._last_seen.get(name, self._began) for name in waiting if name not in self._lines]
        return deadline if len(away) < len(waiting) else min(deadline, max(away) + self.absence)

    def _enforce(self, requests: Mapping[str, bytes]) -> None:
        """Cut the lines of those that may not connect any more; RunError if one of them is to be asked."""
        roster = self.roster()
        with self._changed:
            for name, line in self._lines.items():
                if name not in roster:
                    line.end(grpc.StatusCode.PERMISSION_DENIED, "revoked")
        strangers = sorted(requests.keys() - roster.keys())
        if strangers:
            raise RunError(f"{', '.join(strangers)} may not connect here; enrol them with `skyglow office enrol`")

    def _stream(self, frames: Iterator[bytes], context: Any) -> Iterator[bytes]:  # noqa: ANN401 - gRPC is untyped
        """Serve one stream from its beginning to its end."""
        entry = self._entry(context)
        if entry is None:
            _log.warning("a stream was refused: its certificate is not of an enrolled supplier")
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not enrolled")
            return
        line = _Line(entry.name)
        if not context.add_callback(partial(self._left, line)):
            return
        with self._changed:
            full = self._greeting[line.name] >= _MOST_GREETINGS
            self._greeting[line.name] += not full  # `_greet` takes it off again
        if full:
            _log.warning("a stream was refused: %s has too many that have not begun", line.name)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
            return
        nonce = secrets.token_bytes(link.NONCE_BYTES)
        threading.Thread(target=self._listen, args=(line, entry, nonce, frames, context), daemon=True).start()
        yield link.encode(Challenge(link.VERSION, nonce))
        yield from iter(line.outgoing.get, None)
        if line.fault is not None:
            context.abort(*line.fault)

    def _entry(self, context: Any) -> Enrolled | None:  # noqa: ANN401
        """Whose certificate it is, if it is one that may connect."""
        found = context.auth_context().get("x509_pem_cert", [])
        try:
            entry = self.roster().get(keys.bearer(found[0])) if found else None
            return entry if entry is not None and keys.fingerprint(found[0]) == entry.certificate else None
        except SkyglowError as error:
            _log.error("a stream was refused: %s", error)
            return None

    def _listen(self, line: _Line, entry: Enrolled, nonce: bytes, frames: Iterator[bytes], context: Any) -> None:  # noqa: ANN401
        """Read what one supplier sends; runs in a thread of its own."""
        try:
            self._greet(line, entry, nonce, frames, context)
            assembly = Assembly()
            for frame in frames:
                part = link.decode(frame)
                if not isinstance(part, Part):
                    raise ProtocolError("a supplier sent something other than a reply; check both sides' versions")
                reply = assembly.add(part)
                if reply is not None:
                    self._answered(line, part.exchange, reply)
        except SkyglowError as error:
            _log.warning("the link of %s is cut: %s", line.name, error)
            line.end(_STATUS.get(type(error), grpc.StatusCode.INTERNAL), type(error).__name__)
        except (grpc.RpcError, StopIteration):
            pass  # it is gone
        finally:
            self._left(line)

    def _greet(self, line: _Line, entry: Enrolled, nonce: bytes, frames: Iterator[bytes], context: Any) -> None:  # noqa: ANN401
        timer = threading.Timer(_HELLO_SECONDS, context.cancel)
        timer.daemon = True
        timer.start()
        try:
            found = link.decode(next(frames))
        except (grpc.RpcError, StopIteration):
            _log.warning("a stream of %s was cut: it did not say hello in time, or went away", line.name)
            raise
        finally:
            timer.cancel()
            with self._changed:
                self._greeting[line.name] -= 1
        if not isinstance(found, Hello):
            raise ProtocolError("a supplier did not begin with a hello; check both sides' versions")
        link.check_hello(found, entry.name, entry.public_key, self.office_key, nonce)
        line.outgoing.put(link.encode(Welcome()))
        with self._changed:
            former = self._lines.get(line.name)
            if former is not None:
                former.end(grpc.StatusCode.ABORTED, "replaced")
            self._lines[line.name] = line
            self._changed.notify_all()
        _log.info("%s is connected", line.name)

    def _answered(self, line: _Line, exchange: int, reply: bytes) -> None:
        with self._changed:
            if exchange == self._exchange and self._lines.get(line.name) is line:
                self._replies.setdefault(line.name, reply)
                self._changed.notify_all()

    def _left(self, line: _Line) -> None:
        line.end()
        with self._changed:
            if self._lines.get(line.name) is line:
                del self._lines[line.name]
                self._last_seen[line.name] = time.monotonic()
                self._changed.notify_all()
                _log.info("%s has left", line.name)
