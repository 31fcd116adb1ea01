"""Keys: the one that seals now, and those at hand for opening. Knows no Temporal.

Public are the names in ``__all__``. They are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec.keys.clock import Clock, SystemClock, Timer
    from envelope_codec.keys.keyring import Keyring
    from envelope_codec.keys.keyset import KeySet, SealingContext
    from envelope_codec.keys.limits import Limits
    from envelope_codec.keys.row_source import RowSource
    from envelope_codec.keys.sealing_key import Scope, SealingKey
    from envelope_codec.keys.status import BreakerStatus, KeyringStatus, LeaseStatus, SealingKeyStatus

__all__ = [
    "BreakerStatus",
    "Clock",
    "KeySet",
    "Keyring",
    "KeyringStatus",
    "LeaseStatus",
    "Limits",
    "RowSource",
    "Scope",
    "SealingContext",
    "SealingKey",
    "SealingKeyStatus",
    "SystemClock",
    "Timer",
]

_HOMES = {
    "BreakerStatus": "status",
    "Clock": "clock",
    "KeySet": "keyset",
    "Keyring": "keyring",
    "KeyringStatus": "status",
    "LeaseStatus": "status",
    "Limits": "limits",
    "RowSource": "row_source",
    "Scope": "sealing_key",
    "SealingContext": "keyset",
    "SealingKey": "sealing_key",
    "SealingKeyStatus": "status",
    "SystemClock": "clock",
    "Timer": "clock",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
