"""The options of a Vault Transit master key."""

from __future__ import annotations

import re

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Option

OPTIONS = (
    Option("mount", "path of the Transit engine; part of the key id", default="`transit`"),
    Option("namespace", "Vault's namespace; part of the key id", default="the root namespace"),
    Option("cluster", "a label of your own for the cluster; part of the key id, and never sent"),
    Option("endpoint", "URL of Vault", default="`VAULT_ADDR`, else `BAO_ADDR`", aliases=("address",)),
    Option(
        "auth",
        "`token`, `token-file`, `approle` or `kubernetes`",
        default="`token` if `VAULT_TOKEN` or `BAO_TOKEN` is set and there is no `token_file`, else `token-file`",
    ),
    Option("token_file", "file with a token; it is read again when it changes", default="`~/.vault-token`"),
    Option("role_id", "role, with `auth=approle`"),
    Option(
        "secret_id_file",
        "file with the secret id, with `auth=approle`; it is read again when it changes",
        default="the secret id itself in `VAULT_SECRET_ID`, else `BAO_SECRET_ID`",
    ),
    Option("role", "role, with `auth=kubernetes`"),
    Option("jwt_file", "the service account's token, with `auth=kubernetes`", default="where Kubernetes mounts it"),
    Option("auth_mount", "where that auth method is mounted", default="`approle` or `kubernetes`"),
    Option(
        "ca_bundle",
        "file or folder of CA certificates",
        default="`VAULT_CACERT` or `VAULT_CAPATH`, or OpenBao's twins of them, else the system's",
    ),
    Option("connect_timeout", "seconds for a connection", "seconds", default="2"),
    Option("read_timeout", "seconds between two reads", "seconds", default="5"),
)

_SECRET = re.compile(r"[?&](token|secret_id|jwt|password)=", re.IGNORECASE)


def check_no_secret(uri: str) -> None:
    """Raise `ConfigurationError` if a key URI holds a credential. Its text does not repeat the URI."""
    if isinstance(uri, str) and (found := _SECRET.search(uri)):
        raise ConfigurationError(
            f"a key URI must not hold {found[1].lower()}=…: use VAULT_TOKEN, VAULT_SECRET_ID, token_file=PATH, "
            "secret_id_file=PATH, or VaultTransit's own arguments"
        )
