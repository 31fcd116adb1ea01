"""The options of a Google Cloud KMS master key."""

from __future__ import annotations

from envelope_codec.provider import Option

OPTIONS = (
    Option("credentials", "path of a credentials file", default="application default credentials"),
    Option("endpoint", "`HOST:PORT` of another address than Google's", default="Google's own"),
    Option(
        "insecure",
        "`true`: without TLS and without credentials; for a loopback `endpoint` alone, where it is the default",
        "flag",
    ),
    Option("connect_timeout", "seconds for a connection", "seconds", default="2"),
    Option("read_timeout", "seconds for a whole call", "seconds", default="5", aliases=("timeout",)),
)
