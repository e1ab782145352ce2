# SPDX-License-Identifier: Apache-2.0
"""Flower's simulation engine as a carrier: the coordinator's `Federation` over its grid, and a run on Ray.

The only module of the server that knows Ray. Nothing here reports home or listens beyond this machine.
"""

import logging
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from skyglow_server.federation import Federation
from skyglow_server.links.flower import SILENT, content, message, trouble
from skyglow_shared.errors import RunError

_ENVIRONMENT = {
    **SILENT,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of a default that does not concern us
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # whatever its name says: on every system, listen on loopback alone
    "RAY_AUTH_MODE": "token",  # and even there, not to another person of this machine
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
os.environ.update(_ENVIRONMENT)  # Ray reads these while it is imported

try:
    import ray
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation
except ImportError as error:
    raise RunError("Flower is not installed here; install it with: pip install 'skyglow[flower]'") from error

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_START_SECONDS = 300.0
_OBJECT_STORE_BYTES = 256 * 2**20  # by default Ray takes a third of the machine's memory


@dataclass(frozen=True, slots=True)
class GridFederation:
    """Suppliers behind the nodes of a Flower grid.

    Parameters
    ----------
    grid : Grid
    node_of : mapping of str to int
        The node that serves each supplier; see `nodes_by_supplier`.
    patience : float
        Seconds to wait for replies to one `ask`; who has not answered by then is left out of its result.
    pause : float
        Seconds between looks for replies.
    stopped : threading.Event
        Set when the engine has stopped, so that nobody waits for replies that can no longer come.
    """

    grid: Grid
    node_of: Mapping[str, int]
    patience: float = 3600.0
    pause: float = 0.02
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Send each supplier its request; return the replies of those that answered.

        Raises
        ------
        RunError
            A supplier has no node here, or the engine stopped.
        """
        strangers = sorted(requests.keys() - self.node_of.keys())
        if strangers:
            raise RunError(f"no node serves {', '.join(strangers)}; start one for each supplier of the study")
        messages = {name: message(self.node_of[name], "query.handle", body) for name, body in requests.items()}
        replies = {}
        for name, reply in _exchange(self.grid, messages, self).items():
            body = content(reply, "body")
            if isinstance(body, bytes):
                replies[name] = body
            else:
                _log.warning("%s could not answer (%s); its own log says why", name, trouble(reply))
        return replies


def nodes_by_supplier(grid: Grid, names: Sequence[str], stopped: threading.Event) -> dict[str, int]:
    """Wait for a node for each supplier, and ask each node which one it serves.

    Raises
    ------
    RunError
        Nodes are missing, or do not serve exactly `names`.
    """
    deadline = time.monotonic() + _START_SECONDS
    while len(nodes := sorted(grid.get_node_ids())) < len(names):
        if stopped.wait(0.02) or time.monotonic() > deadline:
            raise RunError(f"{len(nodes)} of {len(names)} nodes came up; see the engine's messages above")
    asked = {str(node): message(node, "query.supplier") for node in nodes}
    found: dict[str, int] = {}
    for node, reply in _exchange(
        grid, asked, GridFederation(grid, {}, patience=_START_SECONDS, stopped=stopped)
    ).items():
        if reply.has_error():  # no supplier is open yet: this text is about installation alone
            raise RunError(f"a node cannot start: {str(reply.error.reason).partition(chr(10))[0]}")
        found[str(content(reply, "supplier"))] = int(node)
    if len(nodes) != len(names) or found.keys() != set(names):
        raise RunError(f"the nodes serve {sorted(found)}, but the study asks {sorted(names)}")
    return found


def run(
    drive: Callable[[Federation], Result],
    client: ClientApp,
    names: Sequence[str],
    *,
    processes: int = 2,
    patience: float = 3600.0,
    verbose: bool = False,
) -> Result:
    """Start Flower's simulation engine (Ray), give `drive` the federation, and stop the engine when it is done.

    Parameters
    ----------
    drive : callable
        What the office does; runs in a thread of its own.
    client : ClientApp
        From `skyglow_client.links.flower.client_app`, with the same `names`.
    names : sequence of str
        The suppliers, one simulated node each.
    processes : int
        How many suppliers answer at a time, each on one processor.
    patience : float
        Seconds to wait for the replies to one request.
    verbose : bool
        Show what Flower and Ray say, and the suppliers' logs.

    Returns
    -------
    object
        What `drive` returned.

    Raises
    ------
    BaseException
        What `drive` raised, as itself.
    RunError
        The engine could not start, or failed.
    """
    if ray.is_initialized():
        raise RunError("Ray is already running in this process; run the study in a process of its own")
    stopped = threading.Event()
    outcome: Future[Result] = Future()

    def main(grid: Grid, context: Context) -> None:
        del context
        outcome.set_running_or_notify_cancel()
        try:
            nodes = nodes_by_supplier(grid, names, stopped)
            outcome.set_result(drive(GridFederation(grid, nodes, patience, stopped=stopped)))
        except BaseException as error:  # handed to the caller of `run`
            outcome.set_exception(error)

    server = ServerApp()
    server.main()(main)
    with _engine(processes, verbose):
        try:
            # Deprecated in favour of the `flwr run` command, which starts a daemon and ships this code to it as a
            # bundle; no other function of Flower's public interface runs an app in this process.
            run_simulation(server, client, len(names), backend_config={"client_resources": {"num_cpus": 1}})
        except Exception as error:
            raise RunError(f"Flower's simulation engine failed: {error.__cause__ or error}") from error
        finally:
            stopped.set()
            if outcome.running():
                wait([outcome])
    return outcome.result()


@contextmanager
def _engine(processes: int, verbose: bool) -> Iterator[None]:
    """Run Ray on this machine alone, in a folder that vanishes; put back what Flower and Ray change in this process."""
    before = dict(os.environ)
    loggers = [logging.getLogger("flwr"), logging.getLogger("ray")]
    levels = [logger.level for logger in loggers]
    with tempfile.TemporaryDirectory(prefix="sky", ignore_cleanup_errors=True) as folder:
        try:
            os.environ.update(_ENVIRONMENT, FLWR_HOME=folder)
            for logger in loggers:
                logger.setLevel(logging.INFO if verbose else logging.CRITICAL)
            _start_ray(Path(folder), processes, verbose)
            yield
        finally:
            ray.shutdown()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            os.environ.clear()
            os.environ.update(before)


def _start_ray(folder: Path, processes: int, verbose: bool) -> None:
    """Start Ray before Flower would, which has no way to say most of this."""
    paths = [path or str(Path.cwd()) for path in sys.path]
    variables = {"HOME": str(Path.home()), "PYTHONPATH": os.pathsep.join(paths)}
    # Without this file in its home, Ray asks the network which cloud it runs in, even with its statistics turned off.
    (folder / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")
    os.environ["HOME"] = str(folder)
    try:
        ray.init(
            address="local",  # never a cluster that the environment names
            num_cpus=processes,
            num_gpus=0,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=verbose,
            runtime_env={"env_vars": variables},
            _temp_dir=str(folder / "ray"),  # Ray lets everybody write where it works, so not at the private top
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise RunError(f"Ray could not start: {error}") from error
    finally:
        os.environ["HOME"] = variables["HOME"]


def _exchange(grid: Grid, messages: Mapping[str, Message], how: GridFederation) -> dict[str, Message]:
    """Send messages and wait; return the replies by the messages' keys."""
    waiting = {identity: key for key, message in messages.items() for identity in grid.push_messages([message])}
    replies: dict[str, Message] = {}
    deadline = time.monotonic() + how.patience
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            replies[waiting.pop(reply.metadata.reply_to_message_id)] = reply
        if not waiting:
            break
        if how.stopped.wait(how.pause):
            raise RunError("Flower's simulation engine stopped before every supplier had answered")
        if time.monotonic() > deadline:
            _log.warning("no answer in time from %s", ", ".join(sorted(waiting.values())))
            break
    return replies
