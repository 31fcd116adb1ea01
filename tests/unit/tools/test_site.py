"""What makes the documentation site of the repository's pages."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

import envelope_codec
from tools.site.navigation import FIRST_PAGE, with_navigation
from tools.site.public_api import documented, public_api, public_names, with_reference
from tools.site.repository_links import address, to_repository

ROOT = Path(__file__).resolve().parents[3]
FIRST = (ROOT / f"{FIRST_PAGE}.md").read_text("utf-8")
PUBLIC = (ROOT / "docs/public-api.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests/vectors/README.md"]
}
HOST = "https://host/project"


def navigation(text: str) -> dict[str, list[str]]:
    """The pages below each caption."""
    pattern = re.compile(r"```\{toctree\}\n:hidden:\n:caption: ([^\n]+)\n\n(.*?)\n```", re.DOTALL)
    tables = pattern.findall(with_navigation(text))
    return {caption: re.findall(r"/([\w./-]+)>?$", lines, re.MULTILINE) for caption, lines in tables}


def test_every_page_has_one_place_in_the_navigation() -> None:
    placed = [page for pages in navigation(FIRST).values() for page in pages]
    assert sorted(placed) == sorted(PAGES - {FIRST_PAGE})


def test_the_order_is_that_of_a_readers_way() -> None:
    assert list(navigation(FIRST)) == [
        "What it is",
        "Try it in a minute",
        "Adopt it in a day",
        "Operate it for years",
        "Reference",
    ]


def test_titles_are_those_of_the_first_page() -> None:
    assert "\nOverview </README>\n" in with_navigation(FIRST)


def test_a_first_page_without_links_is_an_error() -> None:
    with pytest.raises(AssertionError, match="names no pages"):
        with_navigation("# Nothing\n\n## Here\n")


@pytest.mark.parametrize(
    ("markdown", "wanted"),
    [
        ("[a](../SPEC.md#x) [b](adoption.md)", "[a](../SPEC.md#x) [b](adoption.md)"),
        ("[a](../Makefile)", f"[a]({HOST}/blob/main/Makefile)"),
        ("[a](../examples/typescript/README.md#x)", f"[a]({HOST}/blob/main/examples/typescript/README.md#x)"),
        ("[a](https://other/x.md) [b](#here)", "[a](https://other/x.md) [b](#here)"),
        ("![a](pictures/sealing.svg)", "![a](pictures/sealing.svg)"),
        (
            "```text\n[a](../Makefile)\n```\n[b](../LICENSE)",
            f"```text\n[a](../Makefile)\n```\n[b]({HOST}/blob/main/LICENSE)",
        ),
    ],
)
def test_links_to_files_that_are_no_pages_lead_to_the_repository(markdown: str, wanted: str) -> None:
    assert to_repository(markdown, "docs/adoption", PAGES, HOST) == wanted


def test_the_repositorys_address_is_that_of_the_project() -> None:
    assert address((ROOT / "pyproject.toml").read_text("utf-8")).startswith("https://")


def test_the_reference_has_each_public_name_once() -> None:
    found = [name for public in public_api(PUBLIC) for name in public.names]
    assert {*envelope_codec.__all__, "AwsKms", "S3Store", "FakeKms", "ProviderConformance"} <= set(found)
    assert len(found) == len(set(found) - {"ENTRY_POINT_GROUP"}) + found.count("ENTRY_POINT_GROUP")


def test_what_the_page_excepts_is_not_in_the_reference() -> None:
    [envelope] = [public for public in public_api(PUBLIC) if public.module == "envelope_codec.envelope"]
    assert "seal" in envelope.names
    assert not {"Head", "expand", "parse_head", "read_recipient", "_seal_with"} & set(envelope.names)


def test_a_cell_that_speaks_of_every_class_means_those_of_the_module() -> None:
    module = ModuleType("here")
    module.Mine = type("Mine", (), {"__module__": "here"})  # type: ignore[attr-defined]
    module.Foreign = type("Foreign", (), {"__module__": "there"})  # type: ignore[attr-defined]
    assert public_names(module, "every class; see [errors](#errors)") == ["Mine"]


def test_classes_functions_and_values_are_documented_as_such() -> None:
    [kms] = [public for public in public_api(PUBLIC) if public.module == "envelope_codec.kms"]
    text = documented(kms)
    assert ".. autoclass:: envelope_codec.kms.KeyUri\n   :members:" in text
    assert ".. autofunction:: envelope_codec.kms.parse_key_uri" in text
    assert ".. autodata:: envelope_codec.kms.ENTRY_POINT_GROUP" in text


def test_the_reference_takes_the_place_of_what_says_how_to_get_it() -> None:
    text = with_reference((ROOT / "docs/api.md").read_text("utf-8"), PUBLIC)
    assert "make site" not in text
    assert text.index("# API reference") < text.index("## `envelope_codec`")
