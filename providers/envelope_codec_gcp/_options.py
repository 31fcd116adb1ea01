"""The options of a Google Cloud KMS master key."""

from __future__ import annotations

from envelope_codec.provider import Option

OPTIONS = (
    Option("credentials", "path of a credentials file", default="application default credentials"),
    Option(
        "impersonate",
        "service account to act as; or a chain of them, separated by commas, with that one last",
        "list",
    ),
    Option("quota_project", "project whose quota the calls use up", default="as the credentials say"),
    Option("regional", "`true`: the regional endpoint of the key's location; not with `endpoint`", "flag"),
    Option("endpoint", "`HOST:PORT` of another address than Google's", default="Google's own"),
    Option(
        "insecure",
        "`true`: without TLS and without credentials; for a loopback `endpoint` alone, where it is the default",
        "flag",
    ),
    Option("connect_timeout", "seconds for a connection", "seconds", default="2"),
    Option("read_timeout", "seconds for a whole call", "seconds", default="5", aliases=("timeout",)),
)
