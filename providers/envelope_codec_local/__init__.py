"""Master keys in a local file, ``localfile:///absolute/path``: for development and tests, not for production."""

from __future__ import annotations

from envelope_codec_local._master_key import LocalKeyFile

__all__ = ["LocalKeyFile"]
