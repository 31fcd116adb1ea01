"""The wire log of botocore, which must not hold secrets.

At level DEBUG botocore logs the bodies of requests and replies: for Encrypt and Decrypt the secret itself, in base64,
for AssumeRole the credentials, and answers of a metadata service that can't be parsed. Its warnings about credentials
have a traceback: its last line may repeat what a credential process wrote, and error reporters send the variables of
each frame.
"""

from __future__ import annotations

from envelope_codec.provider import WireLog

_NAMES = ("auth", "credentials", "endpoint", "httpsession", "parsers", "tokens", "utils")

WIRE_LOG = WireLog(*(f"botocore.{name}" for name in _NAMES))
