"""What Vault Transit is, for the core and for the documentation. Imports no SDK."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from envelope_codec.kms import context_bytes
from envelope_codec.provider import ProviderFacts
from envelope_codec_vault._hints import MEANINGS
from envelope_codec_vault._options import OPTIONS


def _details(operation: str, key_id: str) -> Mapping[str, str]:
    parts = urlsplit(key_id)
    query = dict(parse_qsl(parts.query))
    path = f"{query.get('mount', 'transit')}/{'encrypt' if operation == 'wrap' else 'decrypt'}/{parts.netloc}"
    return {"path": path, "where": query.get("namespace") or "the root namespace"}


_BEFORE_PURPOSE = 111  # bytes of the context: base64 has a boundary of its groups there


def _keep_from_sharing(key_id: str, context: Mapping[str, str]) -> str:
    """Allow the end of the associated data, from its purpose on. What is before it differs in each record, by its id.

    Other parameters must not be allowed: with ``batch_input``, anything could be wrapped.
    """
    if any(name < "envelope-codec:" for name in context):
        return ""
    ends = [_end({**context, "envelope-codec:purpose": purpose}) for purpose in ("wrapping-key", "data-key")]
    allowed = ", ".join(f'"*{end}"' for end in ends)
    return (
        f'path "{_details("wrap", key_id)["path"]}" {{ capabilities = ["update"] allowed_parameters = '
        f'{{ "plaintext" = [] "type" = [] "associated_data" = [{allowed}] }} }}'
    )


def _end(context: Mapping[str, str]) -> str:
    return base64.b64encode(context_bytes({**context, "envelope-codec:id": "0" * 64})[_BEFORE_PURPOSE:]).decode()


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
    keep_from_sharing=_keep_from_sharing,
)
