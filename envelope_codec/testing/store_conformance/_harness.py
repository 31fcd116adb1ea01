"""What the suite asks of whoever tests a store: empty places on a real server, and places that can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class StoreHarness(Protocol):
    """One kind of store, on a real server.

    It may have a method ``close()``, which is called when its tests are over, a coroutine ``overwrite(url, id, data)``,
    which puts other bytes in a payload's place, and these attributes: ``secrets``, texts
    in its URLs that no error and no ``repr`` may hold, and ``says``, what an error of each place of `refusing` says
    (regular expressions, by what is wrong). A constant ``_PAGE`` in the module of the store, how many payloads it lists
    at once, is made small for the test of that.
    """

    async def place(self) -> str:
        """Make a place that is new and empty, and give its URL."""
        ...

    async def put_other(self, url: str) -> None:
        """Put something beside the payloads that is none."""
        ...

    async def refusing(self) -> dict[str, str]:
        """Make places that can't be used, and give their URLs, by what is wrong.

        Where ``read-only`` is in a name, reading is allowed there.
        """
        ...


def secrets_of(harness: StoreHarness) -> tuple[str, ...]:
    """Texts that no error may hold."""
    return tuple(getattr(harness, "secrets", ()))


def text_expected(harness: StoreHarness, what: str) -> str:
    """What an error says of a place that is wrong in this way, as a regular expression."""
    says: Mapping[str, str] = getattr(harness, "says", {})
    return says.get(what, "")
