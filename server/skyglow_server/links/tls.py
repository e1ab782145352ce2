# SPDX-License-Identifier: Apache-2.0
"""Whether a port still speaks TLS 1.2: tried, not assumed."""

import socket
import ssl
from contextlib import suppress

_HANDSHAKE = b"\x16"  # the first byte of a record that goes on with the handshake; an alert begins with another


def takes_tls_1_2(host: str, port: int, *, seconds: float = 5.0) -> bool:
    """Offer a handshake of TLS 1.2 and see whether it is taken up.

    Parameters
    ----------
    host, port
        A port on this machine.
    seconds : float
        How long to wait; silence counts as taken up.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said to whoever answers
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(coming, going)
    with suppress(ssl.SSLWantReadError):  # it has written its first words
        handshake.do_handshake()
    try:
        with socket.create_connection((host, port), timeout=seconds) as line:
            line.sendall(going.read())
            return line.recv(1) == _HANDSHAKE
    except TimeoutError:
        return True
    except OSError:
        return False
