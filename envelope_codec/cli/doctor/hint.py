"""What to do about an error of a KMS: what its provider says, and where it says nothing, what holds for any KMS."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec._facts import Meaning, ProviderFacts
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import meanings

_BY_KIND: tuple[tuple[type[EnvelopeError], str], ...] = (
    (KmsUnavailable, meanings.CHECK_NETWORK + "; check the credentials too"),
    (KeyDenied, "check that the key exists and is enabled, and that these credentials may use it"),
    (InvalidCiphertext, meanings.REPORT),
)


def find_meaning(facts: ProviderFacts | None, error: EnvelopeError) -> Meaning | None:
    """Find what ``error`` means, by its reason code: to its provider, else to any provider."""
    found = facts.find_meaning(error) if facts is not None else None
    return found or next((meaning for meaning in meanings.COMMON if meaning.code == error.code), None)


def hint(
    facts: ProviderFacts | None, operation: str, error: EnvelopeError, *, namespace: str, purpose: str, key_id: str
) -> str:
    """Say what to do about ``error``.

    Args:
        facts: of the master key's provider, if it has any.
        operation: ``wrap`` or ``unwrap``.
        error: what the provider raised.
        namespace, purpose: what the call was bound to.
        key_id: of the master key.
    """
    meaning = find_meaning(facts, error)
    if meaning is None or not meaning.hint:
        return next((general for kind, general in _BY_KIND if isinstance(error, kind)), meanings.REPORT)
    values = {"permission": f"permission to {operation}", "namespace": namespace, "purpose": purpose}
    return _fill(meaning.hint, {**values, **_details(facts, operation, key_id)})


def _details(facts: ProviderFacts | None, operation: str, key_id: str) -> Mapping[str, str]:
    if facts is None:
        return {}
    permission = facts.permissions.get(operation)
    try:
        details = facts.details(operation, key_id)
    except Exception:  # of a third party
        details = {}
    return {**({"permission": permission} if permission else {}), **details}


def _fill(text: str, values: Mapping[str, str]) -> str:
    try:
        return text.format_map(values)
    except (LookupError, ValueError, AttributeError):  # of a third party, whose braces are none of ours
        return text
