"""The environment of Vault's and OpenBao's own tools."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger("envelope_codec.vault")

_IGNORED = ("SKIP_VERIFY", "PROXY_ADDR", "HTTP_PROXY", "AGENT_ADDR", "SRV_LOOKUP", "CACERT_BYTES")
"""What changes how those tools connect, and nothing here."""

_said: set[str] = set()


def read_variable(name: str) -> str | None:
    """Read ``VAULT_NAME``, else ``BAO_NAME``. None if neither is set, or both are empty.

    If they differ, that is logged, once.
    """
    vault, bao = os.environ.get(f"VAULT_{name}"), os.environ.get(f"BAO_{name}")
    if vault and bao and vault != bao:
        _warn(f"VAULT_{name} and BAO_{name} differ: VAULT_{name} is used")
    return vault or bao or None


def find_ignored_variables(namespace: str, *, through_agent: bool = False) -> list[str]:
    """Find the variables that are set, and have no effect on a key in ``namespace``."""
    ignored: tuple[str, ...] = _IGNORED if namespace else ("NAMESPACE", *_IGNORED)
    if through_agent:
        ignored = tuple(name for name in ignored if name != "AGENT_ADDR")
    names = [f"{prefix}_{name}" for name in ignored for prefix in ("VAULT", "BAO")]
    return [name for name in names if os.environ.get(name, "").strip("/") not in ("", "root")]


def warn_of_ignored(namespace: str, *, through_agent: bool = False) -> None:
    """Log, once, which variables are ignored."""
    for name in find_ignored_variables(namespace, through_agent=through_agent):
        _warn(f"{name} is set, and ignored: {advise_on(name)}")


def advise_on(name: str) -> str:
    """Say what to do instead of setting an ignored variable."""
    kind = name.partition("_")[2]
    if kind == "NAMESPACE":
        value = os.environ.get(name, "").strip("/")
        return (
            f"a key's namespace is part of its key id; for the key in that namespace add namespace={value} to the key "
            f"URI, else unset {name}"
        )
    if kind in ("SKIP_VERIFY", "CACERT_BYTES"):
        return "certificates are always verified; give ca_bundle, or VAULT_CACERT, and tls_server_name for another name"
    if kind in ("PROXY_ADDR", "HTTP_PROXY"):
        return "set HTTPS_PROXY and NO_PROXY"
    if kind == "AGENT_ADDR":
        return "give auth=agent, or endpoint, or VAULT_ADDR"
    return "give endpoint, or VAULT_ADDR"


def _warn(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.warning("%s", text)
