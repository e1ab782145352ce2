# SPDX-License-Identifier: Apache-2.0
"""A site on Flower's deployment that runs installed code alone, and for skyglow's own bundle only.

A SuperNode started with ``--isolation process`` hands its tasks to whoever asks for them on its own machine. Flower's
executor would unpack the bundle that came from the coordinator and run its code. This one stands in its place: it looks
at the bundle's digest, unpacks nothing, and has the installed client answer, in this very process. Any bundle but the
one that holds no code (`skyglow_shared.bundle`) gets an error in place of an answer, and the supplier is not asked.

A SuperNode waits for an answer to every task before it looks for another, so every task is answered: one whose message
cannot be had within a minute by saying so, where Flower would try for two hours. While the SuperNode is away the site
waits for it, and an answer that could not be handed over is forgotten: it is asked again.

Uses parts of Flower that are not public, of exactly the version that is pinned. `skyglow_client.links.flower` says what
travels.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from skyglow_client.handover import lending
from skyglow_client.links.flower import client_app
from skyglow_client.supplier import Supplier
from skyglow_shared.bundle import REFUSED, bundle, digest
from skyglow_shared.errors import FormatError, RunError

try:
    import httpx
    from flwr.app import Context, Error, Message
    from flwr.clientapp import ClientApp
    from flwr.common.constant import SubStatus
    from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
    from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
    from flwr.supercore.constant import TaskType
    from flwr.supercore.fab import Fab
    from flwr.supercore.heartbeat import HeartbeatSender
    from flwr.supercore.interceptors import (
        RuntimeTokenHttpInterceptor,
        RuntimeVersionHttpInterceptor,
        SuperExecAuthHttpInterceptor,
    )
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
except ImportError as error:
    raise RunError("Flower 1.41 is not installed here; install it with: pip install 'skyglow[flower]'") from error

_log = logging.getLogger(__name__)
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_FAILED = 500  # beside Flower's own codes, which are small
_LONGEST_PAUSE = 5.0
_PULL_SECONDS = 60.0  # in which a message arrives, or its run is gone


@dataclass(frozen=True, slots=True)
class Site:
    """The executor of one SuperNode.

    Parameters
    ----------
    address : str
        Host and port of the SuperNode's runtime, on this machine.
    app : ClientApp
        The installed one, from `skyglow_client.links.flower.client_app`.
    secret : bytes
        What the SuperNode was given with ``--superexec-auth-secret-file``: no other process may take its tasks.
    pause : float
        Seconds between looks for a task.
    """

    address: str
    app: ClientApp
    secret: bytes
    pause: float = 0.1

    def serve(self, stop: threading.Event) -> None:
        """Answer tasks until `stop` is set; one that is being answered is answered first.

        Raises
        ------
        RunError
            The SuperNode refuses this executor's secret.

        Privacy
        -------
        What leaves is what `app` returns, for skyglow's own bundle; for others an error that says so.
        """
        client = self._client(SuperExecAuthHttpInterceptor(master_secret=self.secret, protected_methods=_ACQUIRE))
        pause = self.pause
        try:
            while not stop.wait(pause):
                pause = self._look(client, pause)
        finally:
            client.close()

    def _look(self, client: RuntimeHttpClient, pause: float) -> float:
        """Answer a task if there is one; return how long to pause before the next look."""
        try:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise RunError("the SuperNode refuses this executor; give both the same secret") from None
            return self._away(error, pause)
        except httpx.HTTPError as error:
            return self._away(error, pause)
        if found.HasField("task") and found.token:
            self._answer(found.token)
        return self.pause

    def _away(self, error: httpx.HTTPError, pause: float) -> float:
        if pause == self.pause:
            _log.warning("the SuperNode does not answer (%s); waiting for it", type(error).__name__)
        return min(2 * pause, _LONGEST_PAUSE)

    def _answer(self, token: str) -> None:
        client = self._client(RuntimeTokenHttpInterceptor(token))
        client.PullObject = _until(time.monotonic() + _PULL_SECONDS, client.PullObject)
        beating = HeartbeatSender(lambda: _beat(client))
        beating.start()
        try:
            message, context, _, given = pull_task_input(client)
            reply, status, details = self._reply(message, context, given)
            push_message(client, reply, context)
            push_task_output(client=client, context=context, sub_status=status, details=details)
        except RunError as error:
            _log.error("a task could not be taken: %s", error)
            push_task_output(client=client, context=None, sub_status=SubStatus.FAILED, details=str(error))
        except Exception as error:  # its text may hold anything: neither sent nor logged
            _log.error("a task could not be taken or its answer handed over: %s", type(error).__name__)
        finally:
            beating.stop()
            client.close()

    def _reply(self, message: Message, context: Context, given: Fab) -> tuple[Message, str, str]:
        """What to say to a message that came with a bundle: an answer, the task's status, and why."""
        found = digest(given.content)
        if found != digest(bundle()):
            _log.warning("a bundle was refused: its digest %s is not that of skyglow's own", found[:12])
            why = "this site takes skyglow's own bundle only; nothing of another is unpacked or run"
            return Message(Error(code=REFUSED, reason=why), reply_to=message), SubStatus.FAILED, why
        try:
            return self.app(message=message, context=context), SubStatus.COMPLETED, ""
        except Exception as error:  # its text may hold anything: neither sent nor logged
            _log.error("a message could not be answered: %s", type(error).__name__)
            why = "the site could not answer; its own log says why"
            return Message(Error(code=_FAILED, reason=why), reply_to=message), SubStatus.FAILED, why

    def _client(self, *interceptors: ProtobufClientInterceptor) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=True,  # on this machine alone: the SuperNode listens on loopback
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), *interceptors],
        )


def serve(supplier: Supplier, address: str, secret: bytes, stop: threading.Event) -> None:
    """Answer as the executor of the SuperNode at `address` until `stop` is set.

    Parameters
    ----------
    supplier : Supplier
    address : str
        Host and port of the SuperNode's runtime, on this machine.
    secret : bytes
        See `Site`.
    stop : threading.Event

    Raises
    ------
    RunError
        Another process serves this folder, or the SuperNode refuses the secret.
    """
    for talkative in ("httpx", "flwr"):  # a line for each look for a task, many times a second
        logging.getLogger(talkative).setLevel(logging.WARNING)
    app = client_app(lambda name: nullcontext(supplier.handle), (supplier.gate.name,))
    with lending(supplier, stop):
        Site(address, app, secret).serve(stop)


def secret_in(path: Path | None) -> bytes:
    """Read the secret that a SuperNode was given; FormatError if there is none."""
    wanted = "give --secret the file that the SuperNode was given with --superexec-auth-secret-file"
    if path is None:
        raise FormatError(f"a SuperNode hands its tasks to nobody without its secret; {wanted}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"the SuperNode's secret cannot be read ({type(error).__name__}); {wanted}") from None


def _until(
    deadline: float, pull: "Callable[[PullObjectRequest], PullObjectResponse]"
) -> "Callable[[PullObjectRequest], PullObjectResponse]":
    """Pull parts of a message, each again and again while it is on its way, but not after the deadline.

    Raises
    ------
    RunError
        It has passed.
    """

    def pulled(request: "PullObjectRequest") -> "PullObjectResponse":
        if time.monotonic() > deadline:
            raise RunError("the message of a task does not arrive; its run is gone, and the office asks again")
        return pull(request)

    return pulled


def _beat(client: RuntimeHttpClient) -> bool:
    """Keep a task alive; if it is gone, handing over its answer will tell."""
    try:
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    except httpx.HTTPError:
        return False
    return True
