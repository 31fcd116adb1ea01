"""Write the generated parts of the documents: ``python -m tools.pages [--check]``.

A generated part stands between two marks, ``<!-- NAME: written by tools/pages.py -->`` and ``<!-- end of NAME -->``.
What stands between them is replaced; the rest of a page is written by hand. With ``--check`` nothing is written, and
the status is 1 if a page is behind the code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from envelope_codec.config import EnvelopeConfig, NamespaceKeys
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.config import ServerConfig
from tools.chart import plain_manifests, schema_in_step
from tools.provider_tables import option_table, our_providers, provider_table
from tools.setting_tables import table

ROOT = Path(__file__).resolve().parents[1]

_KEYS = {
    "key": "key",
    "backup_keys": "list of keys",
    "decrypt_keys": "list of keys",
    "lease": "duration",
    "temporal_proxy_keys": "map of keys",
}
_SETTINGS = {
    **_KEYS,
    "former_storage": "list of URLs",
    "keystore": "URL",
    "legacy_codecs": "list of codecs",
    "required": "true, false, or list of names",
    "resolver": "function",
    "storage": "URL",
    "storage_query_threshold": "size",
    "storage_replay_memory": "size",
    "compression_min_size": "size",
    "max_payload": "size",
    "storage_threshold": "size",
}
_SERVER = {
    "auth": "list of tables",
    "body_limit": "size",
    "claims": "map of lists",
    "inline_below": "size",
    "max_body_bytes": "size",
    "max_body_bytes_per_caller": "size",
    "peers": "map of lists",
    "rules": "list of tables",
}

PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/configuration.md": {
        "settings": lambda: table(EnvelopeConfig, _SETTINGS),
        "settings of a namespace": lambda: table(NamespaceKeys, _KEYS),
    },
    "docs/codec-server.md": {
        "settings of the server": lambda: table(ServerConfig, _SERVER),
        "settings of an issuer": lambda: table(Issuer, _SERVER),
        "settings of a rule": lambda: table(Rule, _SERVER),
    },
    "docs/providers.md": {
        "providers": provider_table,
        **{
            f"options of {scheme}": partial(option_table, facts.options)
            for scheme, facts in our_providers().items()
            if facts.options
        },
    },
}
"""For each page the functions that make its generated parts, by the parts' names."""

FILES: Mapping[str, Callable[[str], str]] = {
    "deploy/helm/envelope-codec/values.schema.json": schema_in_step,
    "deploy/kubernetes.yaml": plain_manifests,
}
"""Files that are generated as a whole, from what they hold or without it. The second needs the first."""


def in_step(page: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return a page's text with its generated parts as they should be.

    Raises:
        ValueError: the page lacks the marks of a part.
    """
    for name, make in parts.items():
        begin, end = f"<!-- {name}: written by tools/pages.py -->\n", f"<!-- end of {name} -->\n"
        before, begun, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise ValueError(f"no marks for a part called {name!r}")
        page = f"{before}{begin}\n{make()}\n{end}{after}"
    return page


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the pages that are behind, or only name them. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description="Write the documents' generated parts.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page is behind the code")
    check = parser.parse_args(arguments).check
    behind = 0
    wholes: dict[str, Callable[[str], str]] = {
        **{name: partial(in_step, parts=parts) for name, parts in PARTS.items()},
        **FILES,
    }
    for name, make in wholes.items():
        path = root / name
        text = path.read_text("utf-8")
        wanted = make(text)
        if wanted == text:
            continue
        behind += 1
        print(f"{name} is behind the code: run make pages" if check else f"{name} is written")
        if not check:
            path.write_text(wanted, "utf-8")
    return 1 if check and behind else 0


if __name__ == "__main__":
    sys.exit(main())
