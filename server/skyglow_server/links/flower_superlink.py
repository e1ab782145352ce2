# SPDX-License-Identifier: Apache-2.0
"""Flower's deployment as a carrier: the coordinator's `Federation` over a SuperLink and its SuperNodes.

The office drives the SuperLink itself. It begins a run of the bundle that holds no code (`skyglow_shared.bundle`),
takes the run's task in place of Flower's executor, and sends a supplier's requests to the SuperNode that is registered
under the supplier's name. A run that is lost, with its SuperLink or without, is begun anew, and whoever has not
answered is asked again: a message may be sent twice, for a supplier answers the second with the bytes of the first.

Uses parts of Flower that are not public, of exactly the version that is pinned. `skyglow_client.links.flower` says what
travels.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from skyglow_server.links.flower import content, message, trouble
from skyglow_shared.bundle import REFUSED, bundle, digest
from skyglow_shared.errors import FormatError, RunError, SkyglowError

logging.getLogger("alembic").setLevel(logging.WARNING)  # Flower's imports have it announce its plugins
try:
    import httpx
    from flwr.app import Message
    from flwr.common.constant import SubStatus
    from flwr.common.serde import fab_to_proto, run_from_proto
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.runtime_pb2 import (
        AcquireTaskRequest,
        PullTaskInputRequest,
        PushTaskOutputRequest,
        SendTaskHeartbeatRequest,
    )
    from flwr.supercore.constant import TaskType
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.fab import Fab
    from flwr.supercore.heartbeat import HeartbeatSender
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.grid import HttpGrid
except ImportError as error:
    raise RunError("Flower 1.41 is not installed here; install it with: pip install 'skyglow[flower]'") from error

_log = logging.getLogger(__name__)
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_SOON = 3.0  # seconds until a supplier is asked again that could not answer, or has no node
_LONGEST_PAUSE = 10.0
_DENIED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class SuperLink:
    """Where a SuperLink is, and what its driver has to show.

    Parameters
    ----------
    address : str
        Host and port.
    authority : bytes
        Certificate (PEM) of the authority that signed the SuperLink's.
    secret : bytes
        What the SuperLink was given with ``--superexec-auth-secret-file``: nobody else may drive it.
    content : bytes
        The bundle that runs are begun for; any but skyglow's own is refused by skyglow's sites.
    """

    address: str
    authority: bytes
    secret: bytes
    content: bytes = field(default_factory=bundle)


@dataclass(frozen=True, slots=True)
class _Run:
    """A run whose task is ours, and who is in it."""

    grid: HttpGrid
    beating: HeartbeatSender

    def nodes(self) -> dict[str, int]:
        """Which node serves whom, of those that are online: by the names that they are registered under."""
        return {node.name: node.node_id for node in self.grid.get_nodes() if node.name}

    def end(self, *, well: bool) -> None:
        """Tell the SuperLink that the run is over, if it can still be told."""
        self.beating.stop()
        status = SubStatus.COMPLETED if well else SubStatus.FAILED
        try:
            self.grid._runtime_client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=""))
        except Exception:  # whatever it is, the run is over here
            _log.info("the SuperLink could not be told that a run is over")
        finally:
            self.grid.close()


@dataclass(slots=True)
class SuperLinkFederation:
    """Suppliers behind the SuperNodes of a SuperLink; a context manager.

    Parameters
    ----------
    superlink : SuperLink
    patience : float
        Seconds to wait for replies to one `ask`; who has not answered by then is left out of its result.
    again : float
        Seconds after which whoever has not answered is asked once more: its SuperNode may have died with the request.
    pause : float
        Seconds between looks for replies.
    """

    superlink: SuperLink
    patience: float = 600.0
    again: float = 60.0
    pause: float = 0.1
    _run: _Run | None = None

    def __enter__(self) -> Self:
        for talkative in ("httpx", "flwr"):  # a line for each look for a reply, many times a second
            logging.getLogger(talkative).setLevel(logging.WARNING)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._leave(well=kind is None)

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Send each supplier its request; return the replies of those that answered.

        Raises
        ------
        RunError
            The SuperLink cannot be reached in time, or refuses this driver.
        """
        deadline = time.monotonic() + self.patience
        asking = _Asking(dict(requests), self.again)
        pause = self.pause
        while asking.requests and time.monotonic() < deadline:
            try:
                run = self._run = self._run or _begin(self.superlink)
                asking.look(run, ttl=self.patience)
                pause = self.pause
            except SkyglowError:
                raise
            except Exception as error:  # Flower has no tree of errors, and a SuperLink may send anything
                _log.warning("the SuperLink does not answer as it should (%s); beginning another run", _said(error))
                self._leave(well=False)
                asking.forget()
                pause = min(2 * pause + 0.5, _LONGEST_PAUSE)
            time.sleep(pause)
        if self._run is None and asking.requests:
            raise RunError(f"no SuperLink answers at {self.superlink.address}; see that it is running, then resume")
        if asking.requests:
            _log.warning("no answer in time from %s", ", ".join(sorted(asking.requests)))
        return asking.replies

    def _leave(self, *, well: bool) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.end(well=well)


@dataclass(slots=True)
class _Asking:
    """One question to several suppliers: who has yet to answer, which messages are out, and when to ask again."""

    requests: dict[str, bytes]
    again: float
    replies: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Ask everybody anew: the messages went with their run."""
        self.waiting.clear()
        self.due.clear()

    def look(self, run: _Run, ttl: float) -> None:
        """Ask whoever is due, and take the replies that are there."""
        now = time.monotonic()
        due = [name for name in self.requests if self.due.get(name, now) <= now]
        nodes = run.nodes() if due else {}
        for name in due:
            self.due[name] = now + (self.again if name in nodes else _SOON)
            if name in nodes:
                asked = message(nodes[name], "query.handle", self.requests[name], ttl)
                (identity,) = run.grid.push_messages([asked]) or ("",)
                self.waiting[identity] = name
        if self.waiting:
            for reply in run.grid.pull_messages(list(self.waiting)):
                self._take(self.waiting.pop(reply.metadata.reply_to_message_id, ""), reply)

    def _take(self, name: str, reply: Message) -> None:
        if name not in self.requests:
            return  # it was asked twice, or nobody asked for this
        body = content(reply, "body")
        if isinstance(body, bytes):
            self.replies[name] = body
        elif reply.has_error() and reply.error.code == REFUSED:
            _log.warning("the site of %s refuses the bundle; both sides need the same skyglow", name)
        else:
            _log.warning("%s could not answer (%s); asked again soon", name, trouble(reply))
            self.due[name] = time.monotonic() + _SOON
            return
        del self.requests[name]


def federation(address: str, authority: Path, secret: Path | None, *, patience: float = 600.0) -> SuperLinkFederation:
    """The office's end of a SuperLink, from the files that its operator has; FormatError if one cannot be read."""
    if secret is None:
        raise FormatError("a SuperLink is driven by its secret; give --secret its --superexec-auth-secret-file")
    try:
        return SuperLinkFederation(SuperLink(address, authority.read_bytes(), secret.read_bytes()), patience)
    except OSError as error:
        message = f"the SuperLink's certificate or secret cannot be read ({type(error).__name__}); give its own files"
        raise FormatError(message) from None


def _begin(superlink: SuperLink) -> _Run:
    """Begin a run and take its task."""
    try:
        token = _token(superlink, _started(superlink))
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _DENIED:
            raise RunError("the SuperLink refuses this driver; give it the secret that the SuperLink has") from None
        raise
    grid = HttpGrid(superlink.address, False, superlink.authority, token=token)
    vars(grid)["_retry_invoker"] = None  # Flower's own would try for ever, and end this process where a run is over
    told = grid._runtime_client.PullTaskInput(PullTaskInputRequest())
    TaskIdentity.task_id, TaskIdentity.run_id = told.task_id, told.run.run_id
    TaskIdentity.node_id = told.context.node_id
    grid.set_run(run_from_proto(told.run))
    beating = HeartbeatSender(lambda: _beat(grid))
    beating.start()
    return _Run(grid, beating)


def _started(superlink: SuperLink) -> int:
    fab = Fab(digest(superlink.content), superlink.content, {})
    with ControlHttpClient.from_server_address(
        superlink.address, False, superlink.authority, [RuntimeVersionHttpInterceptor(component_name="flwr-cli")]
    ) as client:
        return int(client.StartRun(StartRunRequest(fab=fab_to_proto(fab))).run_id)


def _token(superlink: SuperLink, run: int) -> str:
    """Take the task of a run; tasks of runs that were given up, or are of other apps, end here."""
    showing = SuperExecAuthHttpInterceptor(master_secret=superlink.secret, protected_methods=_ACQUIRE)
    version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
    with RuntimeHttpClient.from_server_address(
        superlink.address, False, superlink.authority, [version, showing]
    ) as client:
        while True:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
            if not found.HasField("task"):
                raise RunError("the SuperLink runs its tasks itself; start it with --isolation process and a secret")
            if found.task.run_id == run:
                return str(found.token)
            _log.warning("a run was found waiting that is not of this study; nothing here takes it up")


def _beat(grid: HttpGrid) -> bool:
    """Keep the run alive; whether it still is, the next request tells."""
    try:
        grid._runtime_client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    except Exception:  # this thread must live on
        return False
    return True


def _said(error: Exception) -> str:
    """What went wrong, without a text that came over the wire."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__
