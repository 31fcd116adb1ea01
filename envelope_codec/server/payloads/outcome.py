"""What became of each payload of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from temporalio.api.common.v1 import Payload

OPENED, PASSED, SEALED = "opened", "passed", "sealed"


class Outcome(NamedTuple):
    """What became of one payload.

    Attributes:
        payload: what goes back: as it came, unless it was opened or sealed.
        kind: `OPENED`, `PASSED` or `SEALED`; else the name of its failure.
        namespace: that its envelope names, whether or not it could be opened; "" if it is none.
        key_id: of the master key that it was sealed with; "" unless it was opened or sealed.
    """

    payload: Payload
    kind: str
    namespace: str = ""
    key_id: str = ""

    @property
    def failed(self) -> bool:
        """Whether nothing became of it."""
        return self.kind not in (OPENED, PASSED, SEALED)


def failures(outcomes: Sequence[Outcome]) -> Counter[str]:
    """How many failed, by the names of their failures."""
    return Counter(outcome.kind for outcome in outcomes if outcome.failed)
