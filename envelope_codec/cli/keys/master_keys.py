"""The master keys of a configuration, loaded when they are needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from envelope_codec._process import renew_after_fork
from envelope_codec.kms import MasterKey, master_key


@dataclass
class MasterKeys:
    """The configured master keys, loaded when they are needed. Loading may hang, so only threads may ask for them.

    A key that is named by its URI is loaded twice: one object wraps, and another one opens, as another process would.
    So an alias is looked up for opening too, which needs a permission of its own.
    """

    _loaded: dict[tuple[Any, bool], MasterKey] = field(default_factory=dict)
    _lock: threading.Lock = field(init=False)

    def __post_init__(self) -> None:
        renew_after_fork(self, _lock=threading.Lock)

    def get(self, given: Any, *, opens: bool) -> MasterKey:
        """Load the master key that is ``given`` by its URI, unless that was done. An object is returned as it is.

        Raises:
            ConfigurationError: its provider can't be loaded, or refuses the URI.
        """
        if not isinstance(given, str):
            return given  # type: ignore[no-any-return]
        with self._lock:
            found = self._loaded.get((given, opens))
        if found is None:
            made = master_key(given)
            with self._lock:
                found = self._loaded.setdefault((given, opens), made)
        return found

    def close(self) -> None:
        """Close the keys that were loaded here."""
        with self._lock:
            loaded, self._loaded = self._loaded, {}
        for master in loaded.values():
            master.close()
