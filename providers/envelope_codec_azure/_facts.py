"""What Azure Key Vault is, for the core and for the documentation. Imports no SDK."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.provider import ProviderFacts
from envelope_codec_azure._hints import MEANINGS
from envelope_codec_azure._key_id import SCHEME
from envelope_codec_azure._options import OPTIONS

_PERMISSIONS = {
    "wrap": "keys/read (oct-HSM: and keys/encrypt/action; RSA: keys/read and keys/sign/action on the signing key)",
    "unwrap": "keys/unwrap/action (oct-HSM: keys/decrypt/action; RSA: and keys/read on the signing key)",
}


def _details(operation: str, key_id: str) -> Mapping[str, str]:
    return {"permission": _PERMISSIONS[operation]}


FACTS = ProviderFacts(
    scheme=SCHEME,
    title="Azure Key Vault",
    class_name="envelope_codec_azure.AzureKeyVault",
    uri="azurekv://HOST/KEY?option=value",
    key_id="`azurekv://HOST/KEY`, HOST the whole host name of the vault or Managed HSM in lower case",
    requirement="temporal-envelope-codec[azure]",
    tells_versions=True,
    options=OPTIONS,
    permissions=_PERMISSIONS,
    meanings=MEANINGS,
    details=_details,
)
