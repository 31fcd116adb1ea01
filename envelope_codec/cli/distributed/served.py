"""What a worker of this package serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from envelope_codec import __version__
from envelope_codec.config import EnvelopeConfig
from envelope_codec.store import StoreUrl


class Offer(NamedTuple):
    """What a worker has been given.

    Attributes:
        client: seals what it sends.
        settings: the configuration.
        results: where results are kept; None if no place was named.
        backup: of the keystore; None if none was named.
    """

    client: Client
    settings: EnvelopeConfig
    results: StoreUrl | None
    backup: Path | None = None


class Served(NamedTuple):
    """What a worker serves of one command.

    Attributes:
        what: in words for people.
        workflows: classes.
        activities: functions.
    """

    what: str
    workflows: Sequence[type[Any]]
    activities: Sequence[Callable[..., Any]]


def check_version(wanted: str) -> None:
    """Raise if this worker is of another version than the command that began the work. It ends the workflow.

    Raises:
        ApplicationError: it is.
    """
    if wanted != __version__:
        raise ApplicationError(
            f"a worker is of version {__version__}, and the command that began this of {wanted}: run one version",
            type="VersionDiffers",
            non_retryable=True,
        )


def refusing_plaintext(settings: EnvelopeConfig) -> EnvelopeConfig:
    """Return ``settings`` for those who work together on a command: they take nothing in clear from each other.

    Whoever can write to Temporal could otherwise begin work, or answer in a worker's place, without any key. What
    ``legacy_codecs`` open may not be authenticated, and what Temporal's proxy sealed is bound to nothing. Nothing of
    this package was ever sealed so.
    """
    if not settings.sealing:
        return settings  # no command can be distributed with it, and each says so itself
    no_proxy: dict[str, Any] = {"temporal_proxy_keys": {}}
    namespaces = {name: keys.model_copy(update=no_proxy) for name, keys in settings.namespaces.items()}
    strict = {"require_encryption": True, "legacy_codecs": (), "namespaces": namespaces}
    return settings.model_copy(update={**no_proxy, **strict})
