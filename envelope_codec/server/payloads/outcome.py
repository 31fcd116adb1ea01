"""The outcome of each payload of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from temporalio.api.common.v1 import Payload

OPENED, PASSED, SEALED = "opened", "passed", "sealed"


class Outcome(NamedTuple):
    """The outcome of one payload.

    Attributes:
        payload: the one that goes back: as it came, unless it was opened or sealed.
        kind: `OPENED`, `PASSED` or `SEALED`, or else the name of its failure.
        namespace: the one that its envelope names, whether or not it could be opened; "" if it is no envelope.
        key_id: of the master key that it was sealed with; "" unless it was opened or sealed.
    """

    payload: Payload
    kind: str
    namespace: str = ""
    key_id: str = ""

    @property
    def failed(self) -> bool:
        """Whether the payload could be neither opened nor sealed, nor passed."""
        return self.kind not in (OPENED, PASSED, SEALED)


def count_failures(outcomes: Sequence[Outcome]) -> Counter[str]:
    """Return how many payloads failed, by the names of their failures."""
    return Counter(outcome.kind for outcome in outcomes if outcome.failed)
