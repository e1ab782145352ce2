# SPDX-License-Identifier: Apache-2.0
"""Flower as a carrier: a ClientApp that takes bytes to a supplier's one way in and brings its bytes back.

With `flower_site` the only module of the client that knows Flower. Two message types, each with one record, `skyglow`,
in its content:

``query.supplier``
    Asks which supplier a node serves. Answered with ``supplier``, its name; the supplier is not opened.
``query.handle``
    Carries a sealed request as ``body``. Answered with the supplier's sealed reply as ``body``, or, when it could not
    be opened, with ``error``: the name of the error's type.

`skyglow_server.links.flower` is the other end.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from skyglow_shared.errors import RunError, SkyglowError

try:
    from flwr.app import ConfigRecord, Context, Message, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.supercore import telemetry
except ImportError as error:
    raise RunError("Flower is not installed here; install it with: pip install 'skyglow[flower]'") from error

Handler = Callable[[bytes], bytes]
OpenHandler = Callable[[str], AbstractContextManager[Handler]]

telemetry.FLWR_TELEMETRY_ENABLED = "0"  # whatever the environment says
_log = logging.getLogger(__name__)
_RECORD = "skyglow"


def client_app(open_handler: OpenHandler, names: Sequence[str]) -> ClientApp:
    """Make the app that nodes run: the node of partition i serves supplier ``names[i]``.

    Parameters
    ----------
    open_handler : callable
        Opens a supplier by name and gives its `handle`; called anew for each message, so that a supplier's ledger is
        held only while it answers. It goes to other processes: a function of an importable module, or a
        `functools.partial` of one with plain arguments (paths, numbers, text), never something that is open.
    names : sequence of str
        The suppliers, in the order of the nodes' partitions; one alone needs none.

    Returns
    -------
    ClientApp

    Privacy
    -------
    What leaves is what `open_handler`'s handler returns. Of an error only its type's name leaves; its text stays in the
    log of the process that runs the supplier.
    """
    app = ClientApp()
    app.query("supplier")(partial(_supplier, tuple(names)))
    app.query("handle")(partial(_handle, open_handler, tuple(names)))
    return app


def _supplier(names: tuple[str, ...], message: Message, context: Context) -> Message:
    return _reply(message, "supplier", _name(names, context))


def _handle(open_handler: OpenHandler, names: tuple[str, ...], message: Message, context: Context) -> Message:
    name = _name(names, context)
    try:
        request = message.content.config_records[_RECORD]["body"]
        if not isinstance(request, bytes):
            raise TypeError("a request is bytes")
        with open_handler(name) as handle:
            reply = handle(request)
    except Exception as error:  # Flower would send its text on
        # Only the texts of skyglow's own errors are known to carry no data.
        _log.error("%s could not answer: %s", name, error if isinstance(error, SkyglowError) else type(error).__name__)
        return _reply(message, "error", type(error).__name__)
    return _reply(message, "body", reply)


def _name(names: tuple[str, ...], context: Context) -> str:
    return names[0] if len(names) == 1 else names[int(context.node_config["partition-id"])]


def _reply(message: Message, field: str, value: str | bytes) -> Message:
    return Message(RecordDict({_RECORD: ConfigRecord({field: value})}), reply_to=message)
