"""What a key file is, for the core and for the documentation."""

from __future__ import annotations

from envelope_codec.provider import ProviderFacts
from envelope_codec_local._hints import MEANINGS

FACTS = ProviderFacts(
    scheme="localfile",
    title="Key file",
    class_name="envelope_codec_local.LocalKeyFile",
    uri="localfile:///absolute/path",
    key_id="`localfile://` and the key's fingerprint",
    tells_versions=True,
    meanings=MEANINGS,
)
