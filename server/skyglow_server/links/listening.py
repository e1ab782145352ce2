# SPDX-License-Identifier: Apache-2.0
"""A port that speaks TLS 1.3 alone, to those who show a certificate of the office's authority, and to few at a time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

# With certificates of elliptic curves this leaves no TLS 1.2 handshake, and TLS 1.3 has suites of its own: gRPC for
# Python has no other way to ask for 1.3 alone. gRPC reads it once, while it is loaded; `listen` tries whether it did.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"

import grpc  # type: ignore[import-untyped]

from skyglow_server import keys
from skyglow_server.links import tls
from skyglow_shared import link
from skyglow_shared.errors import RunError

_MOST_STREAMS = 256
_MOST_CONNECTIONS = 512  # at once, shaken hands or not: whoever knocks must not use up the office's open files
_OPTIONS = (
    *link.CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second office on the same port is an error, not a rival
    ("grpc.max_concurrent_streams", 4),
    ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # protobuf of HealthCheckResponse(status=SERVING)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Three PEM texts: the authority that signed suppliers' certificates, the office's certificate, and its key."""

    authority: bytes
    certificate: bytes
    private: bytes


def listen(
    address: str,
    credentials: Credentials,
    stream: Callable[[Iterator[bytes], Any], Iterator[bytes]],
) -> tuple[Any, int]:
    """Listen, in threads of its own, and answer gRPC's standard health check beside the streams.

    Parameters
    ----------
    address : str
        Host and port; port 0 takes a free one.
    credentials : Credentials
    stream : callable
        Serves one stream, from its frames and its gRPC context.

    Returns
    -------
    server : grpc.Server
        It listens.
    port : int

    Raises
    ------
    FormatError
        The office's certificate is not one that holds the link to TLS 1.3.
    RunError
        The address cannot be had, or the link would speak older TLS: gRPC was loaded before this module.
    """
    keys.check_curve(credentials.certificate)
    server = grpc.server(
        ThreadPoolExecutor(_MOST_STREAMS, thread_name_prefix="link"),
        handlers=[
            _handler(link.METHOD, grpc.stream_stream_rpc_method_handler(stream)),
            _handler(_HEALTH, grpc.unary_unary_rpc_method_handler(lambda *_: _SERVING)),
        ],
        options=_OPTIONS,
        maximum_concurrent_rpcs=_MOST_STREAMS,
    )
    pair = (credentials.private, credentials.certificate)
    proof = grpc.ssl_server_credentials([pair], credentials.authority, require_client_auth=True)
    try:
        port = server.add_secure_port(address, proof)
    except RuntimeError:
        raise RunError("the office cannot listen at its address; is another process there?") from None
    server.start()
    host = address.rpartition(":")[0].strip("[]")
    if tls.takes_tls_1_2({"": "::1", "::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host), port):  # noqa: S104
        server.stop(grace=None).wait()
        raise RunError("gRPC was loaded too early to hold it to TLS 1.3; run the office in a process of its own")
    return server, port


def _handler(path: str, method: Any) -> Any:  # noqa: ANN401 - gRPC is untyped
    service, name = path.strip("/").split("/")
    return grpc.method_handlers_generic_handler(service, {name: method})
