"""Key URIs, the lookup of providers, and context as bytes."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, Unwrapped, WrappedSecret, context_bytes, master_key, parse_key_uri
from envelope_codec.testing import FakeKms

OPTIONS = frozenset({"mount", "endpoint"})


# parse_key_uri


@pytest.mark.parametrize(
    ("uri", "authority", "path", "options"),
    [
        ("s://", "", "", {}),
        ("s://KEY", "KEY", "", {}),
        ("s:///path", "", "path", {}),
        ("s:///a/b/", "", "a/b/", {}),
        ("s:////a", "", "/a", {}),
        ("s://KEY/path?mount=m", "KEY", "path", {"mount": "m"}),
        ("s:///a@b/c?mount=x@y", "", "a@b/c", {"mount": "x@y"}),
        ("s:///a+b?mount=c+d", "", "a+b", {"mount": "c+d"}),
        (
            "s://KEY?mount=a%2Fb&endpoint=http://127.0.0.1:80",
            "KEY",
            "",
            {"mount": "a/b", "endpoint": "http://127.0.0.1:80"},
        ),
        ("s:///arn:aws:kms:eu-west-1:1:key/x", "", "arn:aws:kms:eu-west-1:1:key/x", {}),
        ("s:///a%20b%3Fc%23d%25", "", "a b?c#d%", {}),
        ("s://sch%C3%BCssel", "schüssel", "", {}),
        ("s:///a+b", "", "a+b", {}),
    ],
)
def test_a_key_uri_comes_apart_percent_decoded(uri: str, authority: str, path: str, options: dict[str, str]) -> None:
    parsed = parse_key_uri(uri, scheme="s", options=OPTIONS)
    assert (parsed.text, parsed.scheme) == (uri, "s")
    assert (parsed.authority, parsed.path, parsed.options) == (authority, path, options)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("other://KEY", "must start with s://"),
        ("S://KEY", "must start with s://"),
        ("s:KEY", "must start with s://"),
        ("s:/KEY", "must start with s://"),
        (" s://KEY", "is not a key URI"),
        ("ss://KEY", "must start with s://"),
        ("KEY", "must start with s://"),
        ("", "is not a key URI"),
        ("s:///a\nb", "is not a key URI"),
        ("s://KEY/%FF", "malformed"),
        ("s://KEY?mount=%FF", "malformed"),
        ("s://u:hunter2@[x", "must not hold credentials"),
        ("s://u:hunter2@k#x", "must not hold credentials"),
        ("other://u:hunter2@k", "must not hold credentials"),
        ("s://[KEY", "malformed"),
        ("s://KEY?mount", "malformed"),
        ("s://KEY?&mount=m", "malformed"),
        ("s://KEY#part", "must not have a fragment"),
        ("s://KEY#", "must not have a fragment"),
        ("s://KEY?unknown=1", "unknown option 'unknown' (known: endpoint, mount)"),
        ("s://KEY?Mount=m", "unknown option 'Mount'"),
        ("s://KEY?mount=a&mount=b", "'mount' once"),
        ("s://KEY?mount=", "'mount' once, and not empty"),
        ("s://user@KEY", "credentials"),
        ("s://user:secret@KEY", "credentials"),
    ],
)
def test_a_malformed_key_uri_is_refused_with_what_is_wrong(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key_uri(uri, scheme="s", options=OPTIONS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        *("s://user:hunter2@KEY", "s://u:hunter2@[x", "s://u:hunter2@k#x", "x://u:hunter2@k", "u:hunter2@k"),
        *("s://u:hunter2@k ", "s://u:hunter2@k\n", "u:hunter2@k\n"),
    ],
)
def test_credentials_in_a_key_uri_are_not_repeated_in_the_error(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key_uri(uri, scheme="s")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s:///KEY?secret_access_key=hunter2", "'secret_access_key'"),
        ("s:///KEY?mount=m&token=hunter2", "'token'"),
        ("s:///KEY?mount=m&mount=hunter2", "'mount'"),
        ("s:///KEY?mount=hunter2&endpoint=", "'endpoint'"),
        ("s:///KEY?mount=hunter2&token", "malformed"),
        ("s:///KEY?hunter2", "malformed"),
        ("s:///KEY?mount=hunter2%FF", "malformed"),
        ("s:///KEY?mount=m#hunter2", "fragment"),
        ("s:///KEY#hunter2?mount=m", "fragment"),
        ("other:///KEY?token=hunter2", "must start with s://"),
        ("/KEY?token=hunter2", "must start with s://"),
        ("s:///KEY?token=hunter2 ", "is not a key URI"),
        ("s:///KEY?token=hunter2\n", "is not a key URI"),
    ],
)
def test_an_error_shows_the_key_and_the_name_of_an_option_and_no_option_s_value(uri: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key_uri(uri, scheme="s", options=OPTIONS)
    assert named in str(caught.value)
    assert "/KEY'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_a_provider_may_show_of_a_key_uri_ends_before_its_options() -> None:
    assert parse_key_uri("s://A/b%20c?mount=m", scheme="s", options=OPTIONS).shown == "s://A/b%20c"


def test_a_provider_without_options_says_so() -> None:
    with pytest.raises(ConfigurationError, match="known: none"):
        parse_key_uri("s://KEY?a=b", scheme="s")


@given(st.text())
@example("s://[")
@example("s://\u2100")
@example("s:///\x00?\ud800=1")
def test_any_text_is_a_key_uri_or_a_configuration_error(text: str) -> None:
    for uri in (text, f"s://{text}", f"s:///{text}", f"s://KEY?{text}"):
        try:
            parsed = parse_key_uri(uri, scheme="s", options=OPTIONS)
        except ConfigurationError:
            continue
        assert parsed.options.keys() <= OPTIONS
        assert "" not in parsed.options.values()


# master_key


@pytest.mark.parametrize("uri", ["", " ", "localfile:///x ", " localfile:///x", "localfile:///a\nb", "a\0b"])
def test_what_is_no_text_of_a_key_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a key URI"):
        master_key(uri)


@pytest.mark.parametrize("uri", [None, b"localfile:///x", 7])
def test_what_is_no_text_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a key URI"):
        master_key(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "my-key?token=hunter2",
        "alias/my-key?token=hunter2&endpoint=http://127.0.0.1",
        "nosuchkms://KEY?token=hunter2",
        "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab?token=hunter2",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k?token=hunter2",
        "awskms://arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab?external_id=hunter2",
        "gcpkms:///projects/p/locations/l/keyRings/r/cryptoKeys/k?credentials=hunter2",
        "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k?api_key=hunter2",
        "hashivault://KEY/more?role_id=hunter2",
        "hashivault://KEY?token=hunter2",
        "hashivault://KEY?client_secret=hunter2",
        "localfile:///KEY?password=hunter2",
        "localfile://KEY?password=hunter2",
        b"localfile:///KEY?password=hunter2",
    ],
)
def test_no_refusal_of_a_key_repeats_what_its_options_hold(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        master_key(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", ["my-key", "alias/my-key", "/etc/key.json", "key:value"])
def test_what_names_no_scheme_is_refused_with_what_is_allowed(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="give an AWS KMS ARN, a GCP CryptoKey name"):
        master_key(uri)


def test_an_unknown_scheme_is_refused_with_those_installed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        master_key("nosuchkms://x")
    assert "no provider for key URI scheme 'nosuchkms'" in str(caught.value)
    for scheme in ("awskms", "gcpkms", "hashivault", "localfile"):
        assert scheme in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "likely"),
    [
        ("vault://transit/k", "hashivault"),
        ("aws://k", "awskms"),
        ("gcp://k", "gcpkms"),
        ("file:///etc/key.json", "localfile"),
        ("hashivalt://k", "hashivault"),
    ],
)
def test_a_likely_slip_in_the_scheme_is_named(uri: str, likely: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"did you mean {likely}://…\?$"):
        master_key(uri)


@pytest.mark.parametrize("uri", ["nosuchkms://x", "kms://x", "s://x"])
def test_where_none_or_several_may_be_meant_none_is_named(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"localfile.*\)$"):
        master_key(uri)


@pytest.mark.parametrize(
    "path", ["key.json", "./key", "../keys/key.json", "/etc/key.json", "~/key.json", "my key.json"]
)
def test_a_path_is_told_how_a_key_file_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"of a key file, localfile:///ABSOLUTE/PATH$"):
        master_key(path)


@pytest.mark.parametrize("text", ["my-key", "alias/my-key", "key:value"])
def test_what_is_no_path_is_not_taken_for_a_key_file(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SCHEME://…$"):
        master_key(text)


@pytest.mark.parametrize(
    ("bare", "scheme", "path"),
    [
        ("arn:aws:kms:eu-west-1:111122223333:key/1234", "awskms", "arn:aws:kms:eu-west-1:111122223333:key/1234"),
        ("arn:aws-cn:kms:cn-north-1:111122223333:alias/a", "awskms", "arn:aws-cn:kms:cn-north-1:111122223333:alias/a"),
        ("projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcpkms", None),
    ],
)
def test_a_bare_name_goes_to_its_cloud_as_a_key_uri(
    monkeypatch: pytest.MonkeyPatch, bare: str, scheme: str, path: str | None
) -> None:
    asked: list[str] = []
    the_key = FakeKms()

    class Provided:
        @staticmethod
        def open(uri: str) -> object:
            asked.append(uri)
            return the_key

    monkeypatch.setattr(f"{__name__}.Provided", Provided, raising=False)
    point = EntryPoint(scheme, f"{__name__}:Provided.open", "envelope_codec.providers")
    monkeypatch.setattr("envelope_codec.kms.metadata.entry_points", lambda group: [point])
    assert master_key(bare) is the_key
    assert asked == [f"{scheme}:///{path}" if path else f"{scheme}://{bare}"]


def refused_load(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, value: str = "a_provider:Key") -> str:
    """What `master_key` says of a provider whose module ``a_provider`` has this source."""
    (folder / "a_provider.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    point = EntryPoint("akms", value, "envelope_codec.providers")
    monkeypatch.setattr("envelope_codec.kms.metadata.entry_points", lambda group: [point])
    with pytest.raises(ConfigurationError) as caught:
        master_key("akms://KEY")
    sys.modules.pop("a_provider", None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sdk_that_is_not_there.part", "needs a missing package: install 'sdk_that_is_not_there'"),
        ("import a_provider.part", "can't be loaded: ModuleNotFoundError: No module named 'a_provider.part'"),
        ("import envelope_codec.part", "can't be loaded: ModuleNotFoundError: No module named 'envelope_codec.part'"),
        ("raise ModuleNotFoundError('by hand')", "can't be loaded: ModuleNotFoundError: by hand"),
        ("raise ImportError('wrong ABI', name='sdk')", "can't be loaded: ImportError: wrong ABI"),
        ("from json import nothing_of_it", "can't be loaded: ImportError: cannot import name 'nothing_of_it'"),
        ("import json; json.nothing", "can't be loaded: AttributeError: module 'json' has no attribute 'nothing'"),
        ("raise TypeError('made for another version')", "can't be loaded: TypeError: made for another version"),
        ("Kee = 1", "is broken: a_provider:Key is missing"),
    ],
)
def test_a_provider_that_does_not_load_says_why(
    source: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert f"the provider for akms:// {said}" in refused_load(monkeypatch, tmp_path, source)


def test_a_provider_whose_own_module_is_missing_is_not_to_be_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = refused_load(monkeypatch, tmp_path, "", value="b_provider.part:Key")
    assert said == "the provider for akms:// can't be loaded: ModuleNotFoundError: No module named 'b_provider'"


# context_bytes


def entries_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """An independent reader of SPEC.md's layout."""
    prefix = b"envelope-codec/1 context\x00"
    assert data.startswith(prefix)
    count, at = data[len(prefix)], len(prefix) + 1
    items = []
    for _ in range(2 * count):
        size = int.from_bytes(data[at : at + 2], "big")
        items.append(data[at + 2 : at + 2 + size])
        assert len(items[-1]) == size
        at += 2 + size
    assert at == len(data)
    return list(zip(items[::2], items[1::2], strict=True))


def test_the_layout_by_example() -> None:
    assert context_bytes({"b": "é", "a": "xyz"}) == (
        b"envelope-codec/1 context\x00\x02\x00\x01a\x00\x03xyz\x00\x01b\x00\x02\xc3\xa9"
    )


def test_an_empty_context_is_the_prefix_and_a_zero() -> None:
    assert context_bytes({}) == b"envelope-codec/1 context\x00\x00"


def test_entries_are_sorted_by_the_bytes_of_their_names() -> None:
    # By UTF-16 code units, U+1F511 would come before U+FF5E.
    names = ["～", "\U0001f511", "b", "a", "aa", "B"]
    assert [name.decode() for name, _ in entries_of(context_bytes(dict.fromkeys(names, "v")))] == [
        "B",
        "a",
        "aa",
        "b",
        "～",
        "\U0001f511",
    ]


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert context_bytes({"a": "1", "b": "2"}) == context_bytes({"b": "2", "a": "1"})


def test_names_are_not_normalized() -> None:
    assert context_bytes({"é": "v"}) != context_bytes({"e\u0301": "v"})


def test_shifted_contexts_differ() -> None:
    shifted = [{"tenant": "t1"}, {"tenantt": "1"}, {"tenan": "tt1"}, {"tenant": "t", "1": ""}, {"tenantt1": ""}]
    assert all(context_bytes(a) != context_bytes(b) for a, b in combinations(shifted, 2))


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=20))
def test_context_bytes_can_be_read_back(context: dict[str, str]) -> None:
    expected = sorted((name.encode(), value.encode()) for name, value in context.items())
    assert entries_of(context_bytes(context)) == expected


def test_the_largest_context_fits() -> None:
    value = "v" * 4000
    assert entries_of(context_bytes({"n" * 128: value})) == [(b"n" * 128, value.encode())]


# The protocol


def test_a_class_without_one_of_the_methods_is_no_master_key() -> None:
    class Whole:
        key_id = "x"

        def accepts(self, key_id: str) -> bool:
            return True

        def wrap(self, secret: bytes, context: object) -> WrappedSecret:
            return WrappedSecret("x", "", secret)

        def unwrap(self, wrapped: WrappedSecret, context: object) -> Unwrapped:
            return Unwrapped(wrapped.ciphertext, "")

        def close(self) -> None:
            pass

    assert isinstance(Whole(), MasterKey)
    for name in ("key_id", "accepts", "wrap", "unwrap", "close"):
        members = {key: value for key, value in vars(Whole).items() if key != name}
        assert not isinstance(type("Part", (), members)(), MasterKey)
