"""A server that speaks Google Cloud KMS's gRPC API, for tests and the demo. Never for anything else.

::

    python localstack/gcpkms.py --port 9010            # prints its address, then one line "ready"
    python localstack/gcpkms.py --port 9010 --latency 0.02 --state /tmp/keys.json

Google's own client talks to it over an insecure channel. It implements
``google.cloud.kms.v1.KeyManagementService`` as far as symmetric keys need it: key rings, keys, versions with their
states, the primary version, Encrypt and Decrypt. It does as the real service does with additional authenticated data,
checksums, limits, states and error texts (https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1).

What it is not: there is **no authentication, no TLS and no IAM**. Anyone on this machine may use and destroy every
key. So it listens on loopback alone and refuses any other host. Keys live in memory and are gone when it ends;
``--state FILE`` keeps them, key material in clear, in a file of mode 0600. A key's ``destroy_scheduled_duration`` may
be shorter than the real service's minimum of a day.

SIGTERM and Ctrl-C end it with exit status 0; a port that is taken ends it with 1.
"""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
from gcpkms_keys import Refused, Store
from gcpkms_service import RPCS, KeyManagementService
from google.cloud import kms_v1
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]
from grpc_status import rpc_status  # type: ignore[import-untyped,unused-ignore]

SERVICE = "google.cloud.kms.v1.KeyManagementService"


def serve(
    store: Store,
    *,
    host: str,
    port: int,
    latency: float = 0.0,
    workers: int = 32,
    tls: grpc.ServerCredentials | None = None,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
) -> tuple[grpc.Server, int]:
    """Start serving; returns the server and its port (0 takes a free one). Tests give it TLS, and look at each call.

    Raises:
        RuntimeError: the port is taken.
    """
    service = KeyManagementService(store)
    handlers = {rpc: _handler(getattr(service, rpc), getattr(kms_v1, f"{rpc}Request"), latency) for rpc in RPCS}
    # With so_reuseport, a second server on the same port would start and take half of the calls.
    options = [("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=options, interceptors=interceptors)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    bound = server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    server.start()
    return server, bound


def _handler(method: Callable[[Any], Any], request_type: Any, latency: float) -> grpc.RpcMethodHandler:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        if latency:
            time.sleep(latency)
        try:
            return method(request)
        except Refused as refused:
            context.abort_with_status(rpc_status.to_status(_status(refused)))

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.deserialize,
        response_serializer=lambda reply: type(reply).serialize(reply),
    )


def _status(refused: Refused) -> status_pb2.Status:
    status = status_pb2.Status(code=grpc.StatusCode[refused.status].value[0], message=refused.text)
    if refused.violation:
        violation = error_details_pb2.PreconditionFailure.Violation(type=refused.violation, subject=refused.subject)
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.PreconditionFailure(violations=[violation]))
        status.details.append(detail)
    return status


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{host!r} is not a loopback address: this server has no authentication")


def main(arguments: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds that every call takes more")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep keys in this file, in clear")
    options = parser.parse_args(arguments)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stopped.append(caught))
    try:
        server, port = serve(Store(options.state), host=options.host, port=options.port, latency=options.latency)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Google Cloud KMS test server at {options.host}:{port}\nready", flush=True)
    while not stopped:  # gRPC's threads may catch the signal, which then does not wake this one
        time.sleep(0.1)
    server.stop(grace=0.5).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
