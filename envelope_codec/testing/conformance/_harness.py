"""What the suite asks of whoever tests a provider: keys to use up, and the hands of an administrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from envelope_codec.kms import MasterKey


class Harness(Protocol):
    """Keys of one provider, on a real server: made, opened, and changed behind the provider's back.

    It may have a method ``close()``, which is called when its tests are over; an attribute ``has_network``, False where
    there is no server that could give no answer; and an attribute ``deviations``: reasons why the server, unlike the
    real KMS, fails a test, by the name of the test. Such a test is expected to fail.

    Attributes:
        tells_versions: whether a wrapped secret records the version of its key, as in `ProviderFacts.tells_versions`.
    """

    @property
    def tells_versions(self) -> bool: ...

    def create_key(self) -> str:
        """Make a key that nothing else uses, and give its key URI."""
        ...

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        """Make the master key of a key URI.

        Args:
            uri: from `create_key`.
            endpoint: ``HOST:PORT`` to ask instead of the real server; plain, without TLS.
            read_timeout: seconds for a reply.
        """
        ...

    def rotate(self, uri: str) -> None:
        """Give the key new material, which wraps from now on. The old one still unwraps."""
        ...

    def disable(self, uri: str) -> None:
        """Take the key away for a while, with all its versions."""
        ...

    def enable(self, uri: str) -> None:
        """Give it back."""
        ...

    def schedule_deletion(self, uri: str) -> None:
        """Delete the key, or have it deleted after a waiting time, in which it is of no use either."""
        ...


def has_network(harness: Harness) -> bool:
    """Whether there is a server that could give no answer."""
    return bool(getattr(harness, "has_network", True))


def deviation(harness: Harness, test: str) -> str:
    """Why the server is expected to fail this test; empty if it is not."""
    deviations: Mapping[str, str] = getattr(harness, "deviations", {})
    return deviations.get(test, "")
