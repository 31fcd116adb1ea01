"""The sealing key is at hand before user code runs."""

from __future__ import annotations

from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from envelope_codec.keyring import Keyring


class Prewarm(Interceptor):
    """Gets the sealing key before an activity's user code runs: a result that can't be sealed costs a second run."""

    def __init__(self, keyring: Keyring, namespace: str) -> None:
        self.keyring = keyring
        self._namespace = namespace

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See `Interceptor.intercept_activity`."""
        return _PrewarmActivity(next, self.keyring, self._namespace)


class _PrewarmActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, keyring: Keyring, namespace: str) -> None:
        super().__init__(next)
        self._keyring = keyring
        self._namespace = namespace

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """See `ActivityInboundInterceptor.execute_activity`."""
        await self._keyring.prewarm(self._namespace, timeout=self._keyring.limits.timeout)
        return await super().execute_activity(input)
