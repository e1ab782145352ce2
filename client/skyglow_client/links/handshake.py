# SPDX-License-Identifier: Apache-2.0
"""One TLS handshake with the office, to see that it can be reached and is the office; nothing else is sent."""

import socket
import ssl
from pathlib import Path

from skyglow_shared import link
from skyglow_shared.errors import RunError

_TIMEOUT_SECONDS = 10


def shake_hands(kit: Path, address: str) -> str:
    """Dial the office as serving does, say which TLS was agreed on, and hang up.

    Parameters
    ----------
    kit : Path
        The folder with the authority, and this supplier's certificate and key.
    address : str
        ``host:port`` of the office.

    Raises
    ------
    RunError
        The office cannot be reached, or its certificate is not of the kit's authority.
    """
    context = ssl.create_default_context(cafile=str(kit / link.AUTHORITY_FILE))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(kit / link.CERTIFICATE_FILE, kit / link.PRIVATE_FILE)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            return str(line.version())
    except ssl.SSLError as error:
        raise RunError(f"the office's certificate is not accepted ({error.reason}); ask the office") from None
    except OSError as error:
        raise RunError(f"the office cannot be reached ({type(error).__name__}); check address and firewall") from None
