# SPDX-License-Identifier: Apache-2.0
"""A site on Flower's deployment that runs installed code alone, and for approved bundles only.

A SuperNode started with ``--isolation process`` hands its tasks to whoever asks for them on its own machine. Flower's
executor would unpack the bundle that came from the coordinator and run its code. This one stands in its place: it looks
at the bundle's digest, unpacks nothing, and has the installed client answer, in this very process. A bundle that is not
approved by its SHA-256 gets an error in place of an answer, and the supplier is not opened.

Uses parts of Flower that are not public, of exactly the version that is pinned. `skyglow_client.links.flower` says what
travels.
"""

import hashlib
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass

from skyglow_shared.errors import RunError

try:
    from flwr.app import Error, Message
    from flwr.clientapp import ClientApp
    from flwr.common.constant import SubStatus
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.constant import TaskType
    from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
    from flwr.supercore.interceptors import (
        RuntimeTokenHttpInterceptor,
        RuntimeVersionHttpInterceptor,
        SuperExecAuthHttpInterceptor,
    )
    from flwr.supercore.retry import make_simple_http_retry_invoker
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
except ImportError as error:
    raise RunError("Flower 1.41 is not installed here; install it with: pip install 'skyglow[flower]'") from error

_log = logging.getLogger(__name__)
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_REFUSED = 403  # beside Flower's own codes, which are small


@dataclass(frozen=True, slots=True)
class Site:
    """The executor of one SuperNode.

    Parameters
    ----------
    address : str
        Host and port of the SuperNode's runtime, on this machine.
    app : ClientApp
        The installed one, from `skyglow_client.links.flower.client_app`.
    approved : collection of str
        SHA-256 (hex) of the bundles that may ask.
    secret : bytes
        What the SuperNode was given with ``--superexec-auth-secret-file``: no other process may take its tasks.
    pause : float
        Seconds between looks for a task.
    """

    address: str
    app: ClientApp
    approved: Collection[str]
    secret: bytes
    pause: float = 0.1

    def serve(self, stop: threading.Event) -> None:
        """Answer tasks until `stop` is set; one that is being answered is answered first.

        Privacy
        -------
        What leaves is what `app` returns, for approved bundles; for others an error that says so.
        """
        client = self._client(SuperExecAuthHttpInterceptor(master_secret=self.secret, protected_methods=_ACQUIRE))
        try:
            while not stop.wait(self.pause):
                found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
                if found.HasField("task") and found.token:
                    self._answer(found.token)
        finally:
            client.close()

    def _answer(self, token: str) -> None:
        client = self._client(RuntimeTokenHttpInterceptor(token))
        beating = HeartbeatSender(make_task_heartbeat_fn_http(client))
        beating.start()
        context, status, details = None, SubStatus.FAILED, "the site could not answer; its own log says why"
        try:
            message, context, _, bundle = pull_task_input(client)
            name = hashlib.sha256(bundle.content).hexdigest()
            if name in self.approved and bundle.hash_str == name:
                reply = self.app(message=message, context=context)
                status, details = SubStatus.COMPLETED, ""
            else:
                _log.warning("a bundle was refused: its digest %s is not approved here", name[:12])
                details = "this site has not approved the bundle; nothing of it was unpacked or run"
                reply = Message(Error(code=_REFUSED, reason=details), reply_to=message)
            push_message(client, reply, context)
        except Exception as error:  # its text may hold anything: neither sent nor logged
            _log.error("a task failed: %s", type(error).__name__)
        finally:
            push_task_output(client=client, context=context, sub_status=status, details=details)
            beating.stop()
            client.close()

    def _client(self, *interceptors: object) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=True,  # on this machine alone: the SuperNode listens on loopback
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), *interceptors],
            retry_invoker=make_simple_http_retry_invoker(),
        )
