"""What a worker needs beside its client, and the check that no later plugin has removed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from temporalio.client import Client
from temporalio.worker import Interceptor, Worker, WorkerConfig

from envelope_codec.errors import ConfigurationError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.temporal.prewarm import Prewarm
from envelope_codec.temporal.worker_client import WorkerClient
from envelope_codec.temporal.workflow_instance import guard_runner, is_guarded_runner


def guard_runners(config: WorkerConfig, *, screens: bool) -> None:
    """Have both workflow runners in ``config`` guarded, in place. For ``screens`` see `guard_runner`."""
    runner = config.get("workflow_runner")
    if runner is not None:
        config["workflow_runner"] = guard_runner(runner, screens=screens)
    unsandboxed = config.get("unsandboxed_workflow_runner")
    if unsandboxed is not None:
        config["unsandboxed_workflow_runner"] = guard_runner(unsandboxed, screens=screens)


def add_prewarm(config: WorkerConfig, keyring: Keyring, namespace: str, verify: Callable[[Client], None]) -> None:
    """Put the wait for a key first among the interceptors in ``config``, in place, unless it is there.

    Args:
        config: the worker's.
        keyring: where keys come from.
        namespace: the worker's.
        verify: raises if the client that user code will get does not encrypt.
    """
    interceptors = list(config.get("interceptors") or ())
    if not _has_prewarm(interceptors, keyring):
        config["interceptors"] = [Prewarm(keyring, namespace, WorkerClient(verify)), *interceptors]


def check_worker(worker: Worker, keyring: Keyring) -> None:
    """Check that ``worker`` has guarded runners, and waits for keys of ``keyring``.

    Raises:
        ConfigurationError: another plugin has taken them out.
    """
    config = worker.config(active_config=True)
    for name in ("workflow_runner", "unsandboxed_workflow_runner"):
        runner = config.get(name)
        if runner is not None and not is_guarded_runner(runner):
            raise ConfigurationError(
                f"the worker's {name} may leave failures in clear: another plugin set it after EnvelopePlugin, "
                "which must be the last in the list"
            )
    if not _has_prewarm(config.get("interceptors") or (), keyring):
        raise ConfigurationError(
            "the worker does not wait for a key before it runs an activity, and may tell an error of one in clear: "
            "another plugin removed interceptors that EnvelopePlugin has set, which must be the last in the list"
        )


def _has_prewarm(interceptors: Iterable[Interceptor], keyring: Keyring) -> bool:
    return any(isinstance(each, Prewarm) and each.keyring is keyring for each in interceptors)
