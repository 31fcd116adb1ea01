"""The options of a Vault Transit master key."""

from __future__ import annotations

import re

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Option

OPTIONS = (
    Option("mount", "path of the Transit engine; part of the key id", default="`transit`"),
    Option("namespace", "Vault's namespace; part of the key id", default="the root namespace"),
    Option("cluster", "a label of your own for the cluster; part of the key id, and never sent"),
    Option(
        "endpoint",
        "URL of Vault, or of an Agent or Proxy; `unix:///PATH` is a socket",
        default="`VAULT_ADDR`, else `BAO_ADDR`; with `auth=agent` first `VAULT_AGENT_ADDR`",
        aliases=("address",),
    ),
    Option(
        "auth",
        "`token`, `token-file`, `approle`, `kubernetes`, `jwt`, `cert`, `aws`, `gcp`, `azure`, or `agent`",
        default="`token` if `VAULT_TOKEN` or `BAO_TOKEN` is set and there is no `token_file`, else `token-file`",
    ),
    Option("token_file", "file with a token; it is read again when it changes", default="`~/.vault-token`"),
    Option("role_id", "role, with `auth=approle`"),
    Option(
        "secret_id_file",
        "file with the secret id, with `auth=approle`; it is read again when it changes",
        default="the secret id itself in `VAULT_SECRET_ID`, else `BAO_SECRET_ID`",
    ),
    Option("role", "role of the login; `auth=cert` needs none"),
    Option(
        "jwt_file",
        "the JWT, with `auth=jwt` and `auth=kubernetes`; it is read at each login",
        default="of `kubernetes`: where Kubernetes mounts it",
    ),
    Option("auth_mount", "where that auth method is mounted", default="the method's name, such as `approle`"),
    Option(
        "auth_namespace",
        "namespace of the login, and of the token; no part of the key id. `root` is the root namespace",
        default="the key's namespace",
    ),
    Option("aws_server_id", "header `X-Vault-AWS-IAM-Server-ID`, with `auth=aws`"),
    Option("gcp_service_account", "service account that signs, with `auth=gcp`", default="the machine's own identity"),
    Option("azure_resource", "what the token is for, with `auth=azure`", default="`https://management.azure.com/`"),
    Option(
        "azure_instance",
        "`metadata` sends the machine's names, with `auth=azure`; `none` sends none",
        default="`metadata`",
    ),
    Option(
        "ca_bundle",
        "file or folder of CA certificates",
        default="`VAULT_CACERT` or `VAULT_CAPATH`, or OpenBao's twins of them, else the system's",
    ),
    Option("client_cert", "file of this client's certificate, for mutual TLS", default="`VAULT_CLIENT_CERT`"),
    Option("client_key", "file of its private key", default="`VAULT_CLIENT_KEY`, else `client_cert` holds it"),
    Option("tls_server_name", "name in Vault's certificate", default="`VAULT_TLS_SERVER_NAME`, else the address's"),
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
