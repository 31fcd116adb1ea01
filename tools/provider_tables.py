"""The tables of providers and of their options, from the facts that each provider brings."""

from __future__ import annotations

from envelope_codec._facts import installed_facts
from envelope_codec.provider import Option, ProviderFacts

_OURS = "envelope_codec_"


def our_providers() -> dict[str, ProviderFacts]:
    """Return the facts of the providers of this project, by their schemes."""
    return {scheme: facts for scheme, facts in installed_facts().items() if facts.class_name.startswith(_OURS)}


def provider_table() -> str:
    """Make the table of all providers."""
    rows = ["| scheme | KMS | class | install | key id |", "|---|---|---|---|---|"]
    for one in our_providers().values():
        extra = f"`{one.requirement.removeprefix('temporal-envelope-codec')}`" if one.requirement else "nothing more"
        rows.append(f"| `{one.scheme}` | {one.title} | `{one.class_name}` | {extra} | {one.key_id} |")
    return "\n".join(rows) + "\n"


def option_table(options: tuple[Option, ...]) -> str:
    """Make the table of a provider's options."""
    rows = ["| option | meaning | default |", "|---|---|---|"]
    rows += [f"| `{one.name}` | {one.meaning} | {one.default} |" for one in options]
    return "\n".join(rows) + "\n"
