"""How a call to a KMS or a datastore ended."""

from __future__ import annotations

from dataclasses import dataclass

from envelope_codec.errors import EnvelopeError


@dataclass(frozen=True)
class Answer:
    """How one call ended.

    Attributes:
        seconds: how long it took.
        error: None if it went well.
        words: what the KMS or the datastore said itself about the error.
    """

    seconds: float
    error: EnvelopeError | None = None
    words: str = ""
