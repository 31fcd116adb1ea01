"""Real servers as fixtures, each started once, at its first use, and stopped at the end of the run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

_TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(_TESTS.parent / "localstack"), str(_TESTS.parent)]

from devstack import (  # noqa: E402 - found through the path above
    GcpKmsServer,
    LocalStack,
    MongoServer,
    OpenBao,
    PostgresServer,
    Server,
    ServerMissing,
    TemporalServer,
    ValkeyServer,
)

if TYPE_CHECKING:
    from tests.integration.harness_stores import Stores

AnyServer = TypeVar("AnyServer", bound=Server)

_MARKED_FOLDERS = ("integration", "e2e")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it for what it runs in the background, and processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _TESTS not in item.path.parents:
            continue
        folder = item.path.relative_to(_TESTS).parts[0]
        if folder in _MARKED_FOLDERS:
            item.add_marker(folder)


@contextmanager
def _run_server(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
    except ServerMissing as missing:
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def run_server() -> Callable[[AnyServer], AbstractContextManager[AnyServer]]:
    """For a test that needs a server of its own: ``with run_server(OpenBao()) as server:``.

    If the server is not installed, the test is skipped, or fails where all servers are required.
    """
    return _run_server


@pytest.fixture(scope="session")
def localstack() -> Iterator[LocalStack]:
    with _run_server(LocalStack()) as server:
        yield server


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    with _run_server(OpenBao()) as server:
        yield server


@pytest.fixture(scope="session")
def gcp_kms_server() -> Iterator[GcpKmsServer]:
    with _run_server(GcpKmsServer()) as server:
        yield server


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[TemporalServer]:
    with _run_server(TemporalServer()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with _run_server(ValkeyServer()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with _run_server(PostgresServer()) as server:
        yield server


@pytest.fixture(scope="session")
def mongo() -> Iterator[MongoServer]:
    with _run_server(MongoServer()) as server:
        yield server


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """``stores["redis"]`` is the harness of that kind of store; its server is started at the first use."""
    from tests.integration.harness_stores import Stores

    made = Stores(request)
    yield made
    made.close()
