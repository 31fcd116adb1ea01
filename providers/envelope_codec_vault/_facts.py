"""What Vault Transit is, for the core and for the documentation. Imports no SDK."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from envelope_codec.provider import ProviderFacts
from envelope_codec_vault._hints import MEANINGS
from envelope_codec_vault._options import OPTIONS


def _details(operation: str, key_id: str) -> Mapping[str, str]:
    parts = urlsplit(key_id)
    query = dict(parse_qsl(parts.query))
    path = f"{query.get('mount', 'transit')}/{'encrypt' if operation == 'wrap' else 'decrypt'}/{parts.netloc}"
    return {"path": path, "where": query.get("namespace") or "the root namespace"}


FACTS = ProviderFacts(
    scheme="hashivault",
    title="HashiCorp Vault Transit",
    class_name="envelope_codec_vault.VaultTransit",
    uri="hashivault://KEY?option=value",
    key_id="`hashivault://KEY?cluster=LABEL&mount=M&namespace=N`",
    requirement="temporal-envelope-codec[vault]",
    tells_versions=True,
    options=OPTIONS,
    permissions={"wrap": "update on MOUNT/encrypt/KEY", "unwrap": "update on MOUNT/decrypt/KEY"},
    meanings=MEANINGS,
    details=_details,
)
