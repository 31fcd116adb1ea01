"""Real servers as fixtures, each started once, at its first use, and stopped at the end of the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from devstack import (
    AzureKeyVaultServer,
    AzuriteServer,
    GcpKmsServer,
    GcsServer,
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
    from tests.support.harness_keystores import Keystores
    from tests.support.harness_stores import Stores

AnyServer = TypeVar("AnyServer", bound=Server)

_TESTS = Path(__file__).resolve().parent
_MARKED_FOLDERS = ("integration", "e2e")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it for what it runs in the background, and processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests fork in processes in which others have used gRPC. Its own handlers of a fork may hang in the child (`GcpKms`).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_TEARDOWN = 90.0  # seconds, most of all for servers to end


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """After a failure pytest-timeout no longer keeps time: a teardown that hangs would keep all other tests."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return (yield)

    def fail(number: int, frame: object) -> None:
        pytest.fail(f"what follows the test did not end within {_TEARDOWN:g} s")

    signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, _TEARDOWN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may be no valid Unicode, on purpose, and could not be sent to the process that prints it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


class _AtOnce:
    """Says in a line why a test failed when it does: a run that is cut short has no end where it would be said."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            why = getattr(getattr(report.longrepr, "reprcrash", None), "message", str(report.longrepr))
            self._reporter.write_line(f" {report.nodeid}, {report.when}: {why.splitlines()[0]}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if reporter := config.pluginmanager.get_plugin("terminalreporter"):
        config.pluginmanager.register(_AtOnce(reporter))


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
def azure_vault() -> Iterator[AzureKeyVaultServer]:
    with _run_server(AzureKeyVaultServer()) as server:
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
def gcs_server() -> Iterator[GcsServer]:
    with _run_server(GcsServer()) as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzuriteServer]:
    with _run_server(AzuriteServer()) as server:
        yield server


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """``stores["redis"]`` is the harness of that kind of store; its server is started at the first use."""
    from tests.support.harness_stores import Stores

    made = Stores(request)
    yield made
    made.close()


@pytest.fixture(scope="session")
def keystores(request: pytest.FixtureRequest) -> Iterator[Keystores]:
    """``keystores["redis"]`` is the harness of that kind of keystore; its server is started at the first use."""
    from tests.support.harness_keystores import Keystores

    made = Keystores(request)
    yield made
    made.close()
