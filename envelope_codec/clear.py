"""What Temporal's server and the SDK's core write in clear themselves, past every payload codec."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference

_SYSTEM_MARK = "__temporal_system_payload"
_OPERATIONS = (b"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecution",)
_REFERENCE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
_LEGACY_REFERENCE = b"json/external-storage-reference"

CORE_MARKERS = {"core_local_activity": "data", "core_patch": "patch-data"}
"""Markers in a history whose entry of this name the SDK's core wrote, in clear: type and times of a local activity, the
id of a patch. They hold no user data, and no codec is ever given them to decode. Their payloads look like anyone's, so
they are told by where they stand alone."""


def written_in_clear(payload: Payload) -> str | None:
    """What ``payload`` is, if it is none of the user's: a short name for people. None for everything else.

    It goes by names that no user data can have: what says that it is a message of Temporal's own API is converted to
    that message and nothing else, whatever a workflow expects. So plaintext dressed up as one of these is of no use to
    whoever puts it there.
    """
    metadata = payload.metadata
    encoding, message = metadata.get("encoding"), metadata.get("messageType", b"")
    if encoding == b"binary/protobuf":
        # The server does not mark its answers. What the SDK sends is marked, and the SDK has the payloads in it sealed.
        kinds = ("Request", "Response") if metadata.get(_SYSTEM_MARK) == b"true" else ("Response",)
        if any(message == operation + kind.encode() for operation in _OPERATIONS for kind in kinds):
            return "system Nexus envelope"
    elif encoding == _LEGACY_REFERENCE or (encoding == b"json/protobuf" and message == _REFERENCE):
        return "reference to external storage"
    return None
