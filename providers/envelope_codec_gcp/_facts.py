"""What Google Cloud KMS is, for the core and for the documentation. Imports no SDK."""

from __future__ import annotations

from envelope_codec.provider import BareKey, ProviderFacts
from envelope_codec_gcp._hints import MEANINGS
from envelope_codec_gcp._options import OPTIONS

FACTS = ProviderFacts(
    scheme="gcpkms",
    title="GCP KMS",
    class_name="envelope_codec_gcp.GcpKms",
    uri="gcpkms://NAME?option=value",
    key_id="the CryptoKey's resource name",
    requirement="temporal-envelope-codec[gcp]",
    tells_versions=True,
    options=OPTIONS,
    bare_key=BareKey("projects/", "gcpkms://", "a GCP CryptoKey name (projects/…)"),
    permissions={
        "wrap": "cloudkms.cryptoKeyVersions.useToEncrypt",
        "unwrap": "cloudkms.cryptoKeyVersions.useToDecrypt",
    },
    meanings=MEANINGS,
)
