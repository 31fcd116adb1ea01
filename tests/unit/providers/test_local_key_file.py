"""The key file provider: what it refuses at construction, and what a running one makes of changes to the file."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import envelope_codec_local._connection
from envelope_codec.errors import ConfigurationError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import MasterKey, WrappedSecret, context_bytes, master_key
from envelope_codec_local import LocalKeyFile
from envelope_codec_local.key_file import KeyFile

SECRET = bytes(range(32))
CONTEXT = {"temporal-namespace": "default"}
KEY_1 = b"\x01" * 32
KEY_2 = b"\x02" * 32
# First 16 bytes of SHA-256("envelope-codec/key-file-1" || 0x00 || KEY_1), computed with sha256sum.
ID_1 = "683248a1f8847272c6404798daee7c4e"


def document(**changes: Any) -> dict[str, Any]:
    whole = {
        "format": "envelope-codec/key-file-1",
        "id": ID_1,
        "primary": 2,
        "versions": {"1": base64.b64encode(KEY_1).decode(), "2": base64.b64encode(KEY_2).decode()},
        "disabled": [],
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def write(path: Path, content: dict[str, Any] | bytes) -> Path:
    """Replace the file at ``path``, as keygen does."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return fresh.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "key.json", document())


def test_it_is_a_master_key(path: Path) -> None:
    assert isinstance(LocalKeyFile(path), MasterKey)


def test_a_secret_comes_back(path: Path) -> None:
    key = LocalKeyFile(path)
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def test_the_ciphertext_is_nonce_and_aes_gcm_under_the_primary_version_bound_to_the_context(path: Path) -> None:
    wrapped = LocalKeyFile(path).wrap(SECRET, CONTEXT)
    assert (wrapped.key_id, wrapped.key_version) == (f"localfile://{ID_1}", "2")
    assert len(wrapped.ciphertext) == 12 + 32 + 16
    nonce, rest = wrapped.ciphertext[:12], wrapped.ciphertext[12:]
    assert AESGCM(KEY_2).decrypt(nonce, rest, context_bytes(CONTEXT)) == SECRET


def test_nonces_do_not_repeat(path: Path) -> None:
    key = LocalKeyFile(path)
    assert len({key.wrap(SECRET, CONTEXT).ciphertext[:12] for _ in range(100)}) == 100


def test_the_key_id_is_the_fingerprint_and_not_the_path(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere"))
    assert LocalKeyFile(moved).key_id == f"localfile://{ID_1}"


def test_it_accepts_its_own_key_id_only(path: Path) -> None:
    key = LocalKeyFile(path)
    assert key.accepts(f"localfile://{ID_1}")
    for other in ("", ID_1, f"localfile://{ID_1.upper()}", f"localfile:///{ID_1}", f"localfile://{'0' * 32}"):
        assert not key.accepts(other)


def test_repr_shows_no_key(path: Path) -> None:
    key = LocalKeyFile(path)
    shown = f"{key!r} {key} {key._connection._loaded!r}"
    assert f"localfile://{ID_1}" in shown
    for secret in (KEY_1, KEY_2):
        assert repr(secret) not in shown
        assert base64.b64encode(secret).decode() not in shown


# URIs


@pytest.mark.parametrize("name", ["key.json", "a b.json", "50%.json", "what?.json", "a#b.json", "schlüssel.json"])
def test_the_uri_is_percent_decoded(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, document())
    assert master_key(f"localfile://{quote(str(tmp_path / name))}").key_id == f"localfile://{ID_1}"


@pytest.mark.parametrize("uri", ["localfile://relative/key.json", "localfile://", "localfile:///", "localfile://key"])
def test_a_relative_path_is_refused_with_the_fix(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="localfile:///absolute/path"):
        LocalKeyFile.from_uri(uri)


def test_a_relative_path_given_as_a_path_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigurationError, match="absolute path"):
        LocalKeyFile("key.json")


def test_options_are_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'endpoint'"):
        LocalKeyFile.from_uri(f"localfile://{path}?endpoint=x")


def test_a_zero_byte_in_the_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="null byte"):
        LocalKeyFile.from_uri("localfile:///tmp/a%00b")


# What is refused at construction: the file


def test_a_missing_file_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"is missing: .*envelope-codec keygen {tmp_path}/none"):
        LocalKeyFile(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_file_open_to_others_is_refused_with_the_fix(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        LocalKeyFile(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_closed_to_others_is_taken(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert LocalKeyFile(path)


def test_of_a_symbolic_link_the_target_counts(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    assert LocalKeyFile(link)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        LocalKeyFile(link)


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        path = Path("/etc/passwd")
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        LocalKeyFile(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        LocalKeyFile(tmp_path)


@pytest.mark.timeout(20)
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        LocalKeyFile(tmp_path / "pipe")


# What is refused at construction: the content

KEY_TEXT = base64.b64encode(KEY_1).decode()
DEFECTS: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "empty": (b"", "not JSON"),
    "not JSON": (b"{'format': 1}", "not JSON"),
    "not UTF-8": (b'{"format": "\xff"}', "not JSON"),
    "UTF-16": (json.dumps(document()).encode("utf-16"), "not JSON"),
    "cut off": (json.dumps(document()).encode()[:-1], "not JSON"),
    "something after it": (json.dumps(document()).encode() + b"{}", "not JSON"),
    "nested without end": (b"[" * 100_000, "not JSON"),
    "NaN": (b'{"format": NaN}', "not JSON"),
    "huge number": (b'{"primary": ' + b"9" * 5000 + b"}", "not JSON"),
    "an array": (b"[]", "not a JSON object"),
    "a name twice": (b'{"format": 1, "format": 1}', "name twice"),
    "a version twice": (
        json.dumps(document()).encode().replace(b'"2":', b'"1":'),
        "name twice",
    ),
    "too large": (json.dumps(document()).encode() + b" " * (1 << 20), "larger than 1048576 bytes"),
    "no format": (document(format=...), '"format" must be'),
    "a later format": (document(format="envelope-codec/key-file-2"), '"format" must be "envelope-codec/key-file-1"'),
    "no id": (document(id=...), '"id" is missing'),
    "no primary": (document(primary=...), '"primary" is missing'),
    "no versions": (document(versions=...), '"versions" is missing'),
    "an unknown field": (document(comment="x"), "unknown field"),
    "primary not there": (document(primary=3), '"primary" must be the number of one'),
    "primary a string": (document(primary="2"), '"primary" must be the number of one'),
    "primary true": (document(primary=True), '"primary" must be the number of one'),
    "primary a fraction": (document(primary=2.0), '"primary" must be the number of one'),
    "primary null": (document(primary=None), '"primary" must be the number of one'),
    "versions empty": (document(versions={}), "at least one version"),
    "versions a list": (document(versions=[KEY_TEXT]), "at least one version"),
    "version zero": (document(versions={"0": KEY_TEXT}), "decimal numbers from 1"),
    "version with leading zero": (document(versions={"01": KEY_TEXT}), "decimal numbers from 1"),
    "version a word": (document(versions={"one": KEY_TEXT}), "decimal numbers from 1"),
    "version in other digits": (document(versions={"١": KEY_TEXT}), "decimal numbers from 1"),
    "version with a line end": (document(versions={"1\n": KEY_TEXT}), "decimal numbers from 1"),
    "version out of bounds": (document(versions={"1000000000": KEY_TEXT}), "decimal numbers from 1"),
    "key not base64": (document(versions={"1": KEY_TEXT, "2": "*" * 44}), "version 2 is not base64"),
    "key with a space": (document(versions={"1": KEY_TEXT, "2": " " + KEY_TEXT}), "version 2 is not base64"),
    "key not ASCII": (document(versions={"1": KEY_TEXT, "2": "ä"}), "version 2 is not base64"),
    "key a number": (document(versions={"1": KEY_TEXT, "2": 7}), "version 2 is not base64"),
    "key too short": (document(versions={"1": KEY_TEXT, "2": "AAAA"}), "version 2 is 3 bytes long instead of 32"),
    "key empty": (document(versions={"1": KEY_TEXT, "2": ""}), "version 2 is 0 bytes long instead of 32"),
    "key too long": (
        document(versions={"1": KEY_TEXT, "2": base64.b64encode(KEY_2 + b"x").decode()}),
        "version 2 is 33 bytes long instead of 32",
    ),
    "one key twice": (document(versions={"1": KEY_TEXT, "2": KEY_TEXT}), "two versions hold the same key"),
    "id in capitals": (document(id=ID_1.upper()), "32 lowercase hex digits"),
    "id too short": (document(id=ID_1[:-1]), "32 lowercase hex digits"),
    "id with a line end": (document(id=ID_1 + "\n"), "32 lowercase hex digits"),
    "id a number": (document(id=7), "32 lowercase hex digits"),
    "id of another key": (document(id="0" * 32), "not the fingerprint of version 1"),
    "disabled unknown": (document(disabled=["3"]), '"disabled" must name versions'),
    "disabled a number": (document(disabled=[1]), '"disabled" must be a list'),
    "disabled true": (document(disabled=True), '"disabled" must be a list'),
    "disabled null": (document(disabled=None), '"disabled" must be a list'),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_of_the_content_is_refused_by_name_without_showing_a_key(tmp_path: Path, defect: str) -> None:
    content, said = DEFECTS[defect]
    path = write(tmp_path / "key.json", content)
    with pytest.raises(ConfigurationError) as caught:
        LocalKeyFile(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert KEY_TEXT not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_id_is_taken_as_it_is_once_version_1_is_gone(tmp_path: Path) -> None:
    only_2 = {"2": base64.b64encode(KEY_2).decode()}
    path = write(tmp_path / "key.json", document(versions=only_2))
    assert LocalKeyFile(path).key_id == f"localfile://{ID_1}"


# Unwrapping


def altered(wrapped: WrappedSecret, at: int) -> WrappedSecret:
    changed = bytearray(wrapped.ciphertext)
    changed[at] ^= 1
    return WrappedSecret(wrapped.key_id, wrapped.key_version, bytes(changed))


def test_every_changed_byte_and_every_truncation_is_refused(path: Path) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    size = len(wrapped.ciphertext)
    bad = [altered(wrapped, at) for at in range(size)]
    bad += [WrappedSecret(wrapped.key_id, "2", wrapped.ciphertext[:length]) for length in range(size)]
    bad += [WrappedSecret(wrapped.key_id, "2", wrapped.ciphertext + b"\0")]
    for one in bad:
        with pytest.raises(InvalidCiphertext) as caught:
            key.unwrap(one, CONTEXT)
        assert (caught.value.operation, caught.value.key_id) == ("unwrap", key.key_id)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "context",
    [{}, {"temporal-namespace": "prod"}, {**CONTEXT, "more": "x"}, {"temporal-namespac": "edefault"}, {"x": "default"}],
)
def test_another_context_is_refused(path: Path, context: dict[str, str]) -> None:
    key = LocalKeyFile(path)
    with pytest.raises(InvalidCiphertext):
        key.unwrap(key.wrap(SECRET, CONTEXT), context)


def test_a_ciphertext_under_another_version_is_refused(path: Path) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    with pytest.raises(InvalidCiphertext):
        key.unwrap(WrappedSecret(wrapped.key_id, "1", wrapped.ciphertext), CONTEXT)


def test_a_ciphertext_recorded_under_another_key_id_is_refused(path: Path) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    with pytest.raises(InvalidCiphertext, match="another key file"):
        key.unwrap(WrappedSecret(f"localfile://{'0' * 32}", "2", wrapped.ciphertext), CONTEXT)


@pytest.mark.parametrize("version", ["", "02", "two", "-2", "2\n", "all"])
def test_what_is_no_version_is_an_invalid_ciphertext(path: Path, version: str) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    with pytest.raises(InvalidCiphertext):
        key.unwrap(WrappedSecret(wrapped.key_id, version, wrapped.ciphertext), CONTEXT)


# Changes to the file while the key is in use


def only(*versions: str) -> dict[str, Any]:
    keys = {"1": KEY_1, "2": KEY_2, "3": b"\x03" * 32}
    found = {name: base64.b64encode(keys[name]).decode() for name in versions}
    return document(versions=found, primary=int(versions[-1]))


def test_rotation_needs_no_restart(path: Path) -> None:
    write(path, only("1"))
    key = LocalKeyFile(path)
    old = key.wrap(SECRET, CONTEXT)
    write(path, only("1", "2"))
    new = key.wrap(SECRET, CONTEXT)
    assert (old.key_version, new.key_version) == ("1", "2")
    assert old.key_id == new.key_id == key.key_id
    assert key.unwrap(old, CONTEXT).secret == key.unwrap(new, CONTEXT).secret == SECRET


def test_a_reader_that_was_started_before_the_rotation_opens_what_was_wrapped_after_it(path: Path) -> None:
    write(path, only("1"))
    reader = LocalKeyFile(path)
    write(path, only("1", "2"))
    assert reader.unwrap(LocalKeyFile(path).wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def test_a_removed_version_is_denied(path: Path) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    write(path, only("1"))
    with pytest.raises(KeyDenied, match="removed") as caught:
        key.unwrap(wrapped, CONTEXT)
    assert (caught.value.operation, caught.value.key_id) == ("unwrap", key.key_id)


def test_a_disabled_version_is_denied_until_it_is_enabled(path: Path) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    write(path, document(disabled=["2"]))
    with pytest.raises(KeyDenied, match="disabled"):
        key.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyDenied, match="disabled") as caught:
        key.wrap(SECRET, CONTEXT)
    assert (caught.value.operation, caught.value.key_id) == ("wrap", key.key_id)
    write(path, document())
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_disabled_old_version_leaves_the_primary_one_alone(path: Path) -> None:
    write(path, only("1"))
    key = LocalKeyFile(path)
    old = key.wrap(SECRET, CONTEXT)
    write(path, document(disabled=["1"]))
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    with pytest.raises(KeyDenied):
        key.unwrap(old, CONTEXT)


def test_a_disabled_key_denies_every_version(path: Path) -> None:
    write(path, only("1"))
    key = LocalKeyFile(path)
    old = key.wrap(SECRET, CONTEXT)
    write(path, document())
    new = key.wrap(SECRET, CONTEXT)
    write(path, document(disabled=["all"]))
    for wrapped in (old, new):
        with pytest.raises(KeyDenied):
            key.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyDenied):
        key.wrap(SECRET, CONTEXT)


def test_another_key_in_the_file_is_a_denial(path: Path) -> None:
    key = LocalKeyFile(path)
    before, wrapped = key.key_id, key.wrap(SECRET, CONTEXT)
    write(path, KeyFile.generate().to_bytes())
    with pytest.raises(KeyDenied, match="another key"):
        key.wrap(SECRET, CONTEXT)
    with pytest.raises(KeyDenied, match="another key"):
        key.unwrap(wrapped, CONTEXT)
    assert key.key_id == before


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def be_half_written(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def be_opened_to_others(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (vanish, "the key file is missing"),
        (become_a_folder, "the key file can't be read"),
        (be_half_written, "the key file is no longer valid"),
        (be_opened_to_others, "the key file is no longer private to its owner"),
    ],
)
def test_a_file_that_can_no_longer_be_used_is_an_outage_until_it_is_back(
    path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    key = LocalKeyFile(path)
    wrapped = key.wrap(SECRET, CONTEXT)
    harm(path)
    calls: dict[str, Callable[[], object]] = {
        "wrap": lambda: key.wrap(SECRET, CONTEXT),
        "unwrap": lambda: key.unwrap(wrapped, CONTEXT),
    }
    for operation, call in calls.items():
        with pytest.raises(KmsUnavailable) as caught:
            call()
        assert str(caught.value) == reason
        assert (caught.value.operation, caught.value.key_id) == (operation, key.key_id)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    if path.is_dir():
        path.rmdir()
    write(path, document())
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_an_unchanged_file_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    load = envelope_codec_local._connection.load

    def load_and_note(path: Path) -> object:
        reads.append(path)
        return load(path)

    monkeypatch.setattr(envelope_codec_local._connection, "load", load_and_note)
    key = LocalKeyFile(path)
    for _ in range(3):
        key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT)
    assert len(reads) == 1
    write(path, only("1", "2"))
    key.wrap(SECRET, CONTEXT)
    key.wrap(SECRET, CONTEXT)
    assert len(reads) == 2


@pytest.mark.slow
def test_threads_get_right_answers_while_the_file_is_rotated(path: Path) -> None:
    write(path, only("1"))
    key = LocalKeyFile(path)
    old = key.wrap(SECRET, CONTEXT)
    start, done, wrong = threading.Barrier(9), threading.Event(), []

    def use() -> None:
        start.wait()
        while not done.is_set():
            try:
                assert key.unwrap(old, CONTEXT).secret == SECRET
                assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    file = KeyFile.parse(path.read_bytes())
    for _ in range(50):
        file = file.rotated()
        write(path, file.to_bytes())
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_can_be_closed_twice(path: Path) -> None:
    key = LocalKeyFile(path)
    key.close()
    key.close()
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
