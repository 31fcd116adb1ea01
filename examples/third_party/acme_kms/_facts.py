"""What the library tells about this provider. Imports no SDK."""

from __future__ import annotations

from acme_kms._hints import MEANINGS
from acme_kms._options import OPTIONS
from envelope_codec.provider import ProviderFacts

FACTS = ProviderFacts(
    scheme="acmekms",
    title="Acme's KMS",
    class_name="acme_kms.AcmeKms",
    uri="acmekms://KEY?option=value",
    key_id="`acmekms://KEY`",
    requirement="acme-kms-envelope",
    tells_versions=True,
    options=OPTIONS,
    permissions={"wrap": "encrypt", "unwrap": "decrypt"},
    meanings=MEANINGS,
    details=lambda operation, key_id: {"key": key_id.removeprefix("acmekms://")},
)
