"""The running server: its sockets, uvicorn, signals, and workers."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import uvicorn
from uvicorn.supervisors import Multiprocess

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger
from envelope_codec.server.application import CodecServer
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.metrics import FOLDER
from envelope_codec.server.service import Service
from envelope_codec.server.web.address import Address
from envelope_codec.server.web.certificate import Certificate, check_certificate
from envelope_codec.server.web.connections import Connections
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.server.web.listener import address_of, bind
from envelope_codec.server.web.protocol import LONGEST_HEAD, PatientProtocol

_KEEP_ALIVE = 65  # seconds; longer than load balancers keep connections, or they would send into a closed one
_CERTIFICATE_SECONDS = 2
_WORKER_SECONDS = 30
_STARTUP_FAILURE = 3  # the exit code with which uvicorn does not start a worker again


class UvicornConfig(uvicorn.Config):
    """uvicorn's settings for a codec server.

    Args:
        app: the application, or ``module:function`` of what makes it in a worker.
        server: the settings.
    """

    def __init__(self, app: Any, server: ServerConfig) -> None:
        super().__init__(
            app,
            factory=isinstance(app, str),
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(server.trusted_proxies),
            forwarded_allow_ips=list(server.trusted_proxies),
            workers=server.workers,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(server.shutdown_timeout)),
            timeout_worker_healthcheck=_WORKER_SECONDS,
            h11_max_incomplete_event_size=LONGEST_HEAD,
            ssl_certfile=server.tls_cert,
            ssl_keyfile=server.tls_key,
        )
        self.header_timeout = server.header_timeout
        self.answer_timeout = server.body_timeout
        self.connections = Connections(server.max_connections_per_address, server.trusted_proxies)
        self._certificate: Certificate | None = None

    def load(self) -> None:
        """Load the application and the certificate."""
        super().load()
        if self.ssl is not None:
            self._certificate = Certificate(self.ssl, str(self.ssl_certfile), str(self.ssl_keyfile))
            self.callback_notify, self.timeout_notify = self._renew, _CERTIFICATE_SECONDS

    async def _renew(self) -> None:
        if self._certificate is not None:
            self._certificate.refresh()


def run(config: EnvelopeConfig, server: ServerConfig, listening: Callable[[list[Address]], None]) -> None:
    """Serve until SIGTERM or SIGINT, and return once what was under way has ended.

    With several workers, each reads the settings from the environment. So ``config`` and ``server`` must come from
    there as well.

    Args:
        config: which master keys open and seal.
        server: the settings.
        listening: called once, with the addresses that the server is about to listen at.

    Raises:
        ConfigurationError: the server can't start.
    """
    log_to_stderr()
    if server.tls_cert is not None:
        check_certificate(server.tls_cert, server.tls_key or "")
    service = Service(config, server)
    sockets = [listener for address in server.addresses for listener in bind(address)]
    try:
        listening([address_of(listener) for listener in sockets])
        with _expect_signals():
            if server.workers == 1:
                one = uvicorn.Server(UvicornConfig(CodecServer(service, handle_signals), server))
                one.run(sockets)
                started = one.started
            else:
                service.stop()  # it was made only to find out now what is wrong
                with _make_metrics_folder():
                    several = Multiprocess(UvicornConfig(f"{__name__}:make_worker", server), sockets)
                    several.run()
                started = all(process.exitcode != _STARTUP_FAILURE for process in several.processes)
            if not started:
                raise ConfigurationError("the server could not start; what is logged says why")
    finally:
        for listener in sockets:
            listener.close()


def make_worker() -> CodecServer:
    """Make the application of one of several workers."""
    log_to_stderr()
    try:
        return CodecServer(Service(EnvelopeConfig.from_env(), ServerConfig.from_env()), handle_signals)
    except ConfigurationError as error:
        logger.error("%s", error)
        sys.exit(_STARTUP_FAILURE)


def log_to_stderr() -> None:
    """Send the log to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").addFilter(_UVICORN_LOG)


class RateLimit(logging.Filter):
    """A filter that bounds how often one text is logged: any client can cause uvicorn's warnings.

    Args:
        rate: for each text, such as ``20/minute``.
    """

    def __init__(self, rate: str = "20/minute") -> None:
        super().__init__()
        self._limiter = Limiter(rate)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is logged."""
        return record.levelno < logging.WARNING or not self._limiter.take(str(record.msg))


_UVICORN_LOG = RateLimit()


def handle_signals(service: Service) -> None:
    """Tell ``service`` of signals before uvicorn handles them.

    At SIGTERM and SIGINT the service is no longer ready, and serves on for ``shutdown_delay``. At SIGHUP it opens its
    audit file again.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread gets signals
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_begin_shutdown, service, loop, signal.getsignal(number)))
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, service.reopen)


def _begin_shutdown(
    service: Service, loop: asyncio.AbstractEventLoop, uvicorn_handler: Any, number: int, frame: Any
) -> None:
    delay = 0.0 if service.stopping else service.server.shutdown_delay
    service.stopping = True
    loop.call_soon_threadsafe(loop.call_later, delay, uvicorn_handler, number, None)


@contextmanager
def _expect_signals() -> Iterator[None]:
    """Let the block end without an error after SIGTERM or SIGINT.

    Once uvicorn has ended, it sends the signal to its own process again, for the handler that was there before. That
    handler is the one here.
    """

    def end(number: int, frame: Any) -> NoReturn:
        raise _Ended

    numbers = (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        with suppress(_Ended):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ended(BaseException):
    """The process has been asked to end."""


@contextmanager
def _make_metrics_folder() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="envelope-codec-metrics-")
    os.environ[FOLDER] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER]
        shutil.rmtree(folder, ignore_errors=True)
