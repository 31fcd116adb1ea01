"""A worker gets guarded runners and a wait for keys, once, and is refused where another plugin took them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from temporalio.worker import Interceptor, UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.temporal.worker_guard import add_prewarm, check_worker, guard_runners
from envelope_codec.temporal.workflow_instance import is_guarded_runner
from envelope_codec.testing import FakeKms

RUNNERS = ("workflow_runner", "unsandboxed_workflow_runner")


@pytest.fixture
def keyring() -> Iterator[Keyring]:
    keyring = EnvelopeConfig(key=FakeKms()).keyring()
    yield keyring
    keyring.close()


def runners() -> dict[str, Any]:
    return {"workflow_runner": SandboxedWorkflowRunner(), "unsandboxed_workflow_runner": UnsandboxedWorkflowRunner()}


def worker(config: Any) -> Worker:
    """Stands for a worker: the SDK makes none without a server."""

    class NotConnected:
        def config(self, *, active_config: bool = False) -> Any:
            return config

    return cast(Worker, NotConnected())


def guarded(keyring: Keyring, **more: Any) -> Any:
    config: Any = {**runners(), **more}
    guard_runners(config, screens=False)
    add_prewarm(config, keyring, "n", lambda client: None)
    return config


def test_both_runners_are_guarded_and_stay_what_they_are(keyring: Keyring) -> None:
    config = guarded(keyring)
    assert all(is_guarded_runner(config[name]) for name in RUNNERS)
    assert isinstance(config["workflow_runner"], SandboxedWorkflowRunner)
    check_worker(worker(config), keyring)


def test_what_is_not_there_is_not_guarded(keyring: Keyring) -> None:
    config: Any = {}
    guard_runners(config, screens=True)
    assert config == {}
    add_prewarm(config, keyring, "n", lambda client: None)
    check_worker(worker(config), keyring)


@pytest.mark.parametrize("screens", [True, False])
def test_runners_screen_where_that_is_asked_for(screens: bool) -> None:
    config: Any = runners()
    guard_runners(config, screens=screens)
    assert [config[name].screens for name in RUNNERS] == [screens, screens]


def test_the_wait_for_a_key_comes_first_and_once(keyring: Keyring) -> None:
    class Theirs(Interceptor):
        pass

    theirs = Theirs()
    config = guarded(keyring, interceptors=[theirs])
    first, second = config["interceptors"]
    assert isinstance(first, Prewarm)
    assert second is theirs
    add_prewarm(config, keyring, "n", lambda client: None)
    assert config["interceptors"] == [first, theirs]
    other = EnvelopeConfig(key=FakeKms()).keyring()
    add_prewarm(config, other, "n", lambda client: None)
    assert len(config["interceptors"]) == 3, "another plugin's own"
    other.close()


@pytest.mark.parametrize("name", RUNNERS)
def test_a_runner_that_was_replaced_is_found(keyring: Keyring, name: str) -> None:
    config = {**guarded(keyring), name: runners()[name]}
    with pytest.raises(ConfigurationError, match=f"the worker's {name} may leave failures in clear"):
        check_worker(worker(config), keyring)


@pytest.mark.parametrize("interceptors", [None, [], [Interceptor()]])
def test_a_wait_for_keys_that_was_removed_is_found(keyring: Keyring, interceptors: Any) -> None:
    config = {**guarded(keyring), "interceptors": interceptors}
    with pytest.raises(ConfigurationError, match="does not wait for a key before it runs an activity"):
        check_worker(worker(config), keyring)
