"""A session with Vault: a client and its token, and what is known of the token's life."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import hvac
from hvac.adapters import JSONAdapter

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Failed, ProcessClient
from envelope_codec_vault._hints import CREDENTIALS
from envelope_codec_vault._life import Life


@dataclass(frozen=True, eq=False)
class Session:
    """A client with a token, and what is known of its life. Compared by identity.

    Attributes:
        client: sends the token. Its namespace is that of the login.
        expires_at: by our clock.
        life: as of `since`; None if Vault has not been asked yet.
        since: by our clock.
    """

    client: hvac.Client
    expires_at: float = math.inf
    life: Life | None = None
    since: float = 0.0

    def client_in(self, namespace: str) -> hvac.Client:
        """Get a client with this token whose requests are for ``namespace``, on the same connections."""
        client = self.client
        if (client.adapter.namespace or "").strip("/") == namespace:
            return client
        return hvac.Client(
            url=client.url,
            token=client.token,
            namespace=namespace or None,
            timeout=vars(client.adapter)["_kwargs"]["timeout"],
            session=client.session,
        )


class Sessions(Protocol):
    """Where the session to use comes from."""

    def current(self) -> Session:
        """Get the session to use now. Raises `Failed` if there is none to be had."""
        ...

    def replacement(self, rejected: Session) -> Session:
        """Get another session than this one, whose token Vault does not take. Raises `Failed`."""
        ...

    def end_of_token(self) -> float | None:
        """Seconds until the token ends for good, with nothing to replace it; None if nothing is known of that."""
        ...

    def close(self) -> None:
        """Release what was opened here."""
        ...


class GivenSession:
    """The one session of a client that somebody else built, and keeps logged in."""

    def __init__(self, client: hvac.Client) -> None:
        self._session = Session(client)

    def current(self) -> Session:
        """Get the session, whatever Vault thinks of its token."""
        return self._session

    def replacement(self, rejected: Session) -> Session:
        """Raise `Failed`: only the owner of the client can log in again."""
        raise Failed(CREDENTIALS)

    def end_of_token(self) -> float | None:
        """Nothing is known."""
        return None

    def close(self) -> None:
        """Leave the client open: its owner closes it."""


def hold(client: hvac.Client, namespace: str) -> ProcessClient[Sessions]:
    """Hold the session of a client that somebody else built.

    Raises:
        ConfigurationError: it can't be used with a key in this namespace.
    """
    if not isinstance(client.adapter, JSONAdapter):
        raise ConfigurationError("the Vault client must have hvac's JSONAdapter, which is its default")
    own = (client.adapter.namespace or "").strip("/")
    if own != namespace:
        raise ConfigurationError(
            f"the Vault client is in namespace {own!r}, but the key is in {namespace!r}: give both the same namespace"
        )
    session: Sessions = GivenSession(client)
    # Closing forgets connections, which are the parent's; the client opens others.
    return ProcessClient.given(session, reconnect=lambda _: client.session.close())


def say_span(seconds: float) -> str:
    """Say ``seconds`` in words."""
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7_200 else f"{round(seconds / 3_600)} h"
