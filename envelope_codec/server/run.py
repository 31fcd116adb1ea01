"""Running the server: its sockets, uvicorn, signals, and workers."""

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
from envelope_codec.server.web.address import Address, bind, bound_address
from envelope_codec.server.web.certificate import Certificate, check_certificate
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.server.web.protocol import LONGEST_HEAD, Connections, PatientProtocol

_KEEP_ALIVE = 65  # seconds: longer than load balancers keep theirs, or they would send into a closed connection
_CERTIFICATE_SECONDS = 2
_WORKER_SECONDS = 30
_STARTUP_FAILURE = 3  # what uvicorn takes for a reason not to start a worker again


class UvicornConfig(uvicorn.Config):
    """uvicorn's settings for a codec server.

    Args:
        app: the application, or where workers find what makes it.
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
        """See `uvicorn.Config.load`."""
        super().load()
        if self.ssl is not None:
            self._certificate = Certificate(self.ssl, str(self.ssl_certfile), str(self.ssl_keyfile))
            self.callback_notify, self.timeout_notify = self._renew, _CERTIFICATE_SECONDS

    async def _renew(self) -> None:
        if self._certificate is not None:
            self._certificate.refresh()


def run(config: EnvelopeConfig, server: ServerConfig, listening: Callable[[list[Address]], None]) -> None:
    """Serve until SIGTERM or SIGINT, and return once what was under way has ended.

    With several workers, each reads the settings from the environment anew, so ``config`` and ``server`` must be what
    it says.

    Args:
        config: which master keys open and seal.
        server: the settings.
        listening: called once with the addresses where the server is about to listen.

    Raises:
        ConfigurationError: the server can't start.
    """
    log()
    if server.tls_cert is not None:
        check_certificate(server.tls_cert, server.tls_key or "")
    service = Service(config, server)
    sockets = [listener for address in server.addresses for listener in bind(address)]
    try:
        listening([bound_address(listener) for listener in sockets])
        with _ending_well():
            if server.workers == 1:
                one = uvicorn.Server(UvicornConfig(CodecServer(service, heed), server))
                one.run(sockets)
                started = one.started
            else:
                service.stop()  # it was made to see that all is well
                with _metrics_folder():
                    several = Multiprocess(UvicornConfig(f"{__name__}:worker", server), sockets)
                    several.run()
                started = all(process.exitcode != _STARTUP_FAILURE for process in several.processes)
            if not started:
                raise ConfigurationError("the server could not start; what is logged says why")
    finally:
        for listener in sockets:
            listener.close()


def worker() -> CodecServer:
    """The application of one worker of several."""
    log()
    try:
        return CodecServer(Service(EnvelopeConfig.from_env(), ServerConfig.from_env()), heed)
    except ConfigurationError as error:
        logger.error("%s", error)
        sys.exit(_STARTUP_FAILURE)


def log() -> None:
    """Let what is logged go to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").addFilter(_SELDOM)


class Seldom(logging.Filter):
    """Lets so many records of one text a minute through: whoever reaches the server can cause what uvicorn says."""

    def __init__(self, rate: str = "20/minute") -> None:
        super().__init__()
        self._limiter = Limiter(rate)

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        return record.levelno < logging.WARNING or not self._limiter.take(str(record.msg))


_SELDOM = Seldom()


def heed(service: Service) -> None:
    """Let ``service`` know of signals, before uvicorn does.

    At SIGTERM and SIGINT it is no longer ready, and serves on for ``shutdown_delay``. At SIGHUP it opens its audit file
    again.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # nobody but the main thread can be told
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_end, service, loop, signal.getsignal(number)))
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, service.reopen)


def _end(service: Service, loop: asyncio.AbstractEventLoop, uvicorns: Any, number: int, frame: Any) -> None:
    delay = 0.0 if service.stopping else service.server.shutdown_delay
    service.stopping = True
    loop.call_soon_threadsafe(loop.call_later, delay, uvicorns, number, None)


@contextmanager
def _ending_well() -> Iterator[None]:
    """Let an end that SIGTERM or SIGINT asked for be no failure.

    uvicorn sends the signal to itself again once it has ended, for who was there before it. That is this here.
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
def _metrics_folder() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="envelope-codec-metrics-")
    os.environ[FOLDER] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER]
        shutil.rmtree(folder, ignore_errors=True)
