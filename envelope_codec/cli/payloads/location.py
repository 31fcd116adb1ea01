"""Where a payload, or a failure in clear, stands in a document."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.api.common.v1 import Payload

from envelope_codec.temporal.payload_walk import Role


@dataclass(frozen=True)
class Location:
    """A payload, or a failure in clear, and where it stands.

    Attributes:
        path: the path to it, as ``jq`` spells it; ``.`` for the whole document.
        payload: the payload. None for one that can't be read, and for a failure.
        defect: why the payload can't be read; empty if it can.
        role: what the payload is for.
    """

    path: str
    payload: Payload | None = None
    defect: str = ""
    role: Role = Role.user

    @property
    def is_failure(self) -> bool:
        """Whether it is a failure of an application, whose message or stack trace is in clear."""
        return self.payload is None and not self.defect
