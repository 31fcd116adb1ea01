"""The client that a worker gives to activities and Nexus operations. It may have been replaced after the start."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from temporalio import activity, nexus
from temporalio.client import Client

from envelope_codec.errors import ConfigurationError
from envelope_codec.observe import logger


class WorkerClient:
    """Finds a client that does not encrypt before user code can use it.

    ``worker.client = other`` runs no plugin. The worker still seals what it sends itself. But user code gets the new
    client from `temporalio.activity.client` and `temporalio.nexus.client`, and would send in clear with it.

    Args:
        check: raises `ConfigurationError` if a client does not encrypt.
    """

    def __init__(self, check: Callable[[Client], None]) -> None:
        self._check = check
        self._known: WeakSet[Client] = WeakSet()
        self._logged: WeakSet[Client] = WeakSet()

    def check_in_activity(self) -> None:
        """Raise `ConfigurationError` if the client of the running activity does not encrypt."""
        try:
            client = activity.client()
        except RuntimeError:  # the SDK gives none to activities that are not ``async``
            return
        self.check(client)

    def check_in_nexus_operation(self) -> None:
        """Raise `ConfigurationError` if the client of the running Nexus operation does not encrypt."""
        self.check(nexus.client())

    def check(self, client: Client) -> None:
        """Raise `ConfigurationError` if ``client`` does not encrypt. A client that does is checked once."""
        if client in self._known:
            return
        try:
            self._check(client)
        except ConfigurationError as error:
            if client not in self._logged:  # activities are tried again and again
                logger.error("the worker was given another client: %s", error)
            self._logged.add(client)
            raise ConfigurationError(f"the worker was given another client: {error}") from None
        self._known.add(client)
