# SPDX-License-Identifier: Apache-2.0
"""A port that nobody listens on, for services that are tried out on one machine."""

import socket


def free_port() -> int:
    """Return a port of this machine that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
