"""The options of a master key."""

from __future__ import annotations

from envelope_codec.provider import Option

OPTIONS = (
    Option("endpoint", "URL of the KMS", default="`ACME_KMS`"),
    Option("token_file", "file with a token; it is read at each call"),
    Option("read_timeout", "seconds for a reply", "seconds", default="5"),
)
