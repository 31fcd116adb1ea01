"""Facts of providers: what clashes is refused, and what a package says about another one's scheme does not count."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from envelope_codec._facts import FACTS_GROUP, BareKey, installed_facts
from envelope_codec.provider import Option, ProviderFacts, meanings


def make_facts(**fields: Any) -> ProviderFacts:
    return ProviderFacts(
        **{"scheme": "mykms", "title": "t", "class_name": "my.Kms", "uri": "mykms://K", "key_id": "k", **fields}
    )


OURS = make_facts(bare_key=BareKey("my:", "mykms://", "a key"))
THEIRS = make_facts(bare_key=BareKey("my:", "theirkms://", "a key"))
OTHER = make_facts(scheme="otherkms")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points that are there."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: points if group == FACTS_GROUP else [])
    installed_facts.cache_clear()
    yield points
    installed_facts.cache_clear()


def point(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{attribute}", FACTS_GROUP)


def test_a_scheme_that_two_packages_describe_has_no_facts(
    installed: list[EntryPoint], caplog: pytest.LogCaptureFixture
) -> None:
    installed += [point("mykms", "OURS"), point("otherkms", "OTHER"), point("mykms", "THEIRS")]
    assert installed_facts() == {"otherkms": OTHER}
    assert "more than one installed package has facts of provider mykms://" in caplog.text


def test_facts_that_are_found_twice_are_no_rivals(installed: list[EntryPoint]) -> None:
    installed += [point("mykms", "OURS"), point("mykms", "OURS")]
    assert installed_facts() == {"mykms": OURS}


@pytest.mark.parametrize("attribute", ["MISSING", "__doc__", "OTHER"])
def test_facts_that_are_none_are_left_out(
    installed: list[EntryPoint], attribute: str, caplog: pytest.LogCaptureFixture
) -> None:
    installed += [point("mykms", attribute), point("otherkms", "OTHER")]
    assert installed_facts() == {"otherkms": OTHER}
    assert "mykms://" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        (Option("a", "one"), Option("a", "two")),
        (Option("a", "one"), Option("b", "two", aliases=("a",))),
        (Option("b", "one", aliases=("a",)), Option("c", "two", aliases=("a",))),
        (Option("a", "one", aliases=("a",)),),
    ],
)
def test_options_that_share_a_name_are_refused(options: tuple[Option, ...]) -> None:
    with pytest.raises(ValueError, match="two options of mykms share a name: a"):
        make_facts(options=options)


def test_meanings_that_share_a_code_are_refused() -> None:
    with pytest.raises(ValueError, match="two meanings of mykms share a reason code: fault"):
        make_facts(meanings=(meanings.FAULT, meanings.CLOSED, meanings.FAULT))


def test_an_option_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="option a is of one of the kinds text, seconds, flag, list, not 'int'"):
        Option("a", "one", kind="int")  # type: ignore[arg-type]
