"""Keeps secrets out of botocore's log.

At level DEBUG botocore logs the bodies of requests and replies: for Encrypt and Decrypt the secret itself, in base64,
for AssumeRole the credentials, and what a metadata service gave that can't be parsed. Its warnings about credentials
come with a traceback: the last line may be what a credential process wrote, and error reporters send the variables of
each frame.
"""

from __future__ import annotations

from envelope_codec.provider import WireLog

_NAMES = ("auth", "credentials", "endpoint", "httpsession", "parsers", "tokens", "utils")

WIRE_LOG = WireLog(*(f"botocore.{name}" for name in _NAMES))
