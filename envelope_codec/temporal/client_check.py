"""A client that does not encrypt, although it was given our plugin, is not made."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.client import Client, Interceptor, OutboundInterceptor

from envelope_codec.keys.keyring import Keyring

_FAR = 1_000  # interceptors


class Guard(Interceptor):
    """Checks a client when it is made, after every plugin has had its say, and leaves no trace in its calls.

    Args:
        keyring: of the plugin that put it there.
        verify: raises if the client does not encrypt.
    """

    def __init__(self, keyring: Keyring, verify: Callable[[Client], None]) -> None:
        self.keyring = keyring
        self._verify = verify

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See `Interceptor.intercept_client`."""
        client = client_of(next)
        if client is not None:
            self._verify(client)
        return next


def client_of(interceptor: object) -> Client | None:
    """The client at the end of a chain of interceptors. The SDK has no public way, so there may be none."""
    for _ in range(_FAR):
        client = getattr(interceptor, "_client", None)
        if isinstance(client, Client):
            return client
        interceptor = getattr(interceptor, "next", None)
    return None
