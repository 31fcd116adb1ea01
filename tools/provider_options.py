"""Writes the tables of providers and their options in docs/providers.md, from the facts that each provider brings.

Run: ``python tools/provider_options.py``. What stands between the marks of a table is replaced, the rest is left.
"""

from __future__ import annotations

from pathlib import Path

from envelope_codec._facts import installed_facts
from envelope_codec.provider import Option, ProviderFacts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "providers.md"

_END = "<!-- end -->\n"


def page(text: str) -> str:
    """Make the page as it should be, from what it is."""
    facts = [one for one in installed_facts().values() if one.class_name.startswith("envelope_codec_")]
    text = _replace(text, "providers", _providers(facts))
    for one in facts:
        if one.options:
            text = _replace(text, f"options: {one.scheme}", _options(one.options))
    return text


def _replace(text: str, name: str, table: str) -> str:
    mark = f"<!-- {name} -->\n"
    before, found, rest = text.partition(mark)
    if not found:
        raise ValueError(f"{PAGE.name} has no mark {mark.strip()}")
    return before + mark + table + _END + rest.partition(_END)[2]


def _providers(facts: list[ProviderFacts]) -> str:
    rows = ["", "| scheme | KMS | class | install | key id |", "|---|---|---|---|---|"]
    for one in facts:
        extra = f"`{one.requirement.removeprefix('temporal-envelope-codec')}`" if one.requirement else "nothing more"
        rows.append(f"| `{one.scheme}` | {one.title} | `{one.class_name}` | {extra} | {one.key_id} |")
    return "\n".join(rows) + "\n\n"


def _options(options: tuple[Option, ...]) -> str:
    rows = ["", "| option | meaning | default |", "|---|---|---|"]
    rows += [f"| `{one.name}` | {one.meaning} | {one.default} |" for one in options]
    return "\n".join(rows) + "\n\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
