"""What stores ask of buckets of objects, whoever keeps them."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Exists(Exception):
    """There is an object of that name already."""


class Listed(NamedTuple):
    """An object in a listing.

    Attributes:
        name: without the prefix.
        created: Unix seconds.
        size: bytes.
    """

    name: str
    created: float
    size: int


class Bucket(Protocol):
    """A bucket, or a container, and a prefix in it. Names are without the prefix."""

    async def create(self, name: str, data: bytes) -> None:
        """Keep ``data``, if nothing of that name is there. Raises `Exists`: something is."""

    async def read(self, name: str, limit: int) -> bytes:
        """Return what is kept. Raises `PayloadMissing`, and `TooLarge` if there are more than ``limit`` bytes."""
        ...

    async def delete(self, name: str) -> None:
        """Delete what is kept, if anything is."""

    async def list_page(self, token: str | None, size: int) -> tuple[list[Listed], str | None]:
        """Return up to ``size`` objects, and the token of the next page, if there is one."""
        ...

    def close(self) -> None:
        """Release the connections."""
