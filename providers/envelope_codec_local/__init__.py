"""Master keys in a local file, ``localfile:///absolute/path``: for development and tests, not for production.

`LocalKeyFile` behaves as a KMS does: it has versions, rotation, and refuses when a version or the key is disabled.
``envelope-codec keygen`` writes the file; nothing here does. The format is in `envelope_codec_local.key_file`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec_local._master_key import LocalKeyFile

__all__ = ["LocalKeyFile"]


def __getattr__(name: str) -> Any:
    """Load what a call needs only when the class is asked for: the facts of this package are read without it."""
    if name == "LocalKeyFile":
        from envelope_codec_local._master_key import LocalKeyFile

        return LocalKeyFile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
