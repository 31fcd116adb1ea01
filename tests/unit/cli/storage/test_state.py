"""What `storage gc` remembers of what it has read."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.cli.storage.state import Run, State

OF_EARLIER_RELEASE = '{"format": "envelope-codec/storage-gc-1", "server": "server"}\n'
"""It did not look into JSON of the server's own workflows, so that what they refer to would be deleted."""

ONE, OTHER = Run("n", "w", "r1"), Run("n", "w \n\"'", "r2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_keeps_what_was_read_for_its_owner_alone(path: Path) -> None:
    with State(path, "server") as state:
        assert state.ids(ONE) is None
        state.add(ONE, {"b", "a"})
        state.add(OTHER, [])
    assert path.stat().st_mode & 0o777 == 0o600
    with State(path, "server") as state:
        assert (state.ids(ONE), state.ids(OTHER)) == (["a", "b"], [])


def test_a_line_that_was_cut_short_is_forgotten(path: Path) -> None:
    with State(path, "server") as state:
        state.add(ONE, ["a"])
        state.add(OTHER, ["b"])
    path.write_bytes(path.read_bytes()[:-5])
    with State(path, "server") as state:
        assert (state.ids(ONE), state.ids(OTHER)) == (["a"], None)
        state.add(OTHER, ["b"])
    with State(path, "server") as state:
        assert state.ids(OTHER) == ["b"]


def test_forgets_what_the_server_has_no_longer(path: Path) -> None:
    with State(path, "server") as state:
        state.add(ONE, ["a"])
        state.add(OTHER, ["b"])
        state.keep({OTHER})
    with State(path, "server") as state:
        assert (state.ids(ONE), state.ids(OTHER)) == (None, ["b"])
        state.add(ONE, ["c"])
    with State(path, "server") as state:
        assert state.ids(ONE) == ["c"]


@pytest.mark.parametrize(
    "content",
    ["text\n", "{}\n", '{"format": "envelope-codec/storage-gc-state-3", "server": "x"}\n', OF_EARLIER_RELEASE],
)
def test_a_file_of_something_else_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="no state of storage gc for this server"), State(path, "server"):
        pass
    assert path.read_text() == content


def test_a_garbled_line_in_the_middle_is_no_state(path: Path) -> None:
    with State(path, "server") as state:
        state.add(ONE, ["a"])
    with path.open("a") as file:
        file.write("garbage\n{}\n")
    with pytest.raises(ConfigurationError, match="no state"), State(path, "server"):
        pass


def test_belongs_to_one_process_at_a_time(path: Path) -> None:
    with (
        State(path, "server"),
        pytest.raises(ConfigurationError, match="in use by another"),
        State(path, "server"),
    ):
        pass


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    with State(None, "server") as state:
        state.add(ONE, ["a"])
        assert state.ids(ONE) is None
        state.keep(set())
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_can_not_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't open"), State(tmp_path / "missing" / "state", "server"):
        pass
