"""The steps of a row: what is asked in which order, and that they may end anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope_codec.cli.rewrap.steps import (
    Answer,
    Found,
    KeyIds,
    Move,
    Outcome,
    Prove,
    Read,
    RowFailed,
    Step,
    Steps,
    Write,
    drop_old,
    rewrap,
)
from envelope_codec.envelope import Purpose, Recipient, build_record, commit, record_head
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keystore_change import add_verified, publish
from envelope_codec.keystore_row import KeystoreRow

HEAD = record_head(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "prod"})
ID = commit(bytes(32), HEAD)[1]
IDS = KeyIds(frozenset({"key:old"}), frozenset({"key:new"}))


def good(key_id: str, number: int = 0) -> Recipient:
    return Recipient(key_id, "", b"good %d" % number)


def bad(key_id: str, number: int = 0) -> Recipient:
    return Recipient(key_id, "", b"bad %d" % number)


OLD, OTHER = good("key:old"), good("key:other")


def row_of(*verified: Recipient, imported: tuple[Recipient, ...] = ()) -> KeystoreRow:
    return replace(publish(build_record(HEAD, ID, [OLD])), verified=verified, imported=imported)


class Killed(Exception):
    """The process ended here."""


class World:
    """A row in a keystore, and master keys. It does the steps, until ``life`` of them are done.

    Attributes:
        errors: thrown at steps, by their number.
        done: the steps so far.
    """

    def __init__(self, row: KeystoreRow, life: int = 1_000) -> None:
        self.row = row
        self.revision = 0
        self.life = life
        self.wraps = 0
        self.lost: set[int] = set()
        self.errors: dict[int, EnvelopeError] = {}
        self.done: list[Step] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.backed_up: set[Recipient] = set()

    def follow(self, steps: Steps) -> Outcome:
        try:
            step = next(steps)
            while True:
                if len(self.done) >= self.life:
                    raise Killed
                self.done.append(step)
                try:
                    answer = self.do(step, len(self.done))
                except EnvelopeError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome

    def do(self, step: Step, number: int) -> Answer:
        if number in self.errors:
            raise self.errors[number]
        match step:
            case Read():
                return Found(self.row, str(self.revision))
            case Prove(_, recipient):
                self.check(recipient)
            case Move(_, recipient):
                self.check(recipient)
                self.wraps += 1
                return good("key:new", self.wraps)
            case Write(row, revision):
                self.meanwhile()
                if revision != str(self.revision):
                    return False
                self.put(row)
                return number not in self.lost and self.row == row
        return None

    def put(self, row: KeystoreRow) -> None:
        self.row, self.revision = row, self.revision + 1

    def check(self, recipient: Recipient) -> None:
        if recipient.ciphertext.startswith(b"bad"):
            raise InvalidCiphertext("bad", operation="unwrap")

    def rewrap(self) -> Outcome:
        return self.follow(rewrap(self.row.key, IDS))

    def drop(self) -> Outcome:
        return self.follow(drop_old(self.row.key, IDS, lambda key, recipient: recipient in self.backed_up))

    def kinds(self) -> list[str]:
        return [type(step).__name__ for step in self.done]


def test_the_steps_come_in_order() -> None:
    world = World(row_of(OLD, OTHER))
    assert world.rewrap() is Outcome.added
    assert world.kinds() == ["Read", "Move", "Write"]
    assert world.row.verified == (OLD, OTHER, good("key:new", 1))


def test_a_row_that_has_it_is_proved_and_left() -> None:
    world = World(row_of(OLD, good("key:new")))
    assert world.rewrap() is Outcome.there
    assert world.kinds() == ["Read", "Prove"]


def test_a_row_that_does_not_name_the_old_key_is_left() -> None:
    world = World(row_of(OTHER))
    assert world.rewrap() is Outcome.unconcerned
    assert world.kinds() == ["Read"]


def test_one_that_does_not_unwrap_is_replaced_by_name() -> None:
    world = World(row_of(OLD, bad("key:new")))
    assert world.rewrap() is Outcome.added
    assert world.row.verified == (OLD, good("key:new", 1))


def test_one_whose_kms_gives_no_answer_is_not_replaced() -> None:
    world = World(row_of(OLD, good("key:new")))
    world.errors = {2: KmsUnavailable("no answer", operation="unwrap")}
    with pytest.raises(KmsUnavailable):
        world.rewrap()
    assert world.revision == 0


def test_an_imported_one_that_unwraps_becomes_verified() -> None:
    found = good("key:new")
    world = World(row_of(OLD, imported=(bad("key:new"), found)))
    assert world.rewrap() is Outcome.added
    assert world.kinds() == ["Read", "Prove", "Prove", "Write"]
    assert (world.row.verified, world.row.imported) == ((OLD, found), ())


def test_all_recipients_of_the_old_key_are_tried() -> None:
    world = World(row_of(imported=(bad("key:old", 1), bad("key:old", 2), good("key:old", 3))))
    assert world.rewrap() is Outcome.added
    assert world.kinds().count("Move") == 3
    assert world.row.verified == (good("key:new", 1),)
    assert len(world.row.imported) == 3


def test_the_decisive_error_of_all_is_told() -> None:
    world = World(row_of(imported=(bad("key:old", 1), good("key:old", 2), bad("key:old", 3))))
    world.errors = {3: KmsUnavailable("no answer", operation="unwrap")}
    with pytest.raises(KmsUnavailable):
        world.rewrap()


def test_where_the_new_key_is_at_fault_no_other_recipient_is_tried() -> None:
    world = World(row_of(imported=(good("key:old", 1), good("key:old", 2))))
    world.errors = {2: KeyDenied("denied", operation="wrap")}
    with pytest.raises(KeyDenied):
        world.rewrap()
    assert world.kinds() == ["Read", "Move"]


def test_what_readers_cannot_unwrap_is_not_written() -> None:
    world = World(row_of(OLD))
    world.errors = {2: KeyDenied("denied", operation="prove")}
    with pytest.raises(KeyDenied):
        world.rewrap()
    assert world.kinds() == ["Read", "Move"]


def test_a_replica_of_the_old_key_is_no_new_one() -> None:
    ids = KeyIds(frozenset({"key:old", "key:new"}), frozenset())
    world = World(row_of(OLD))
    with pytest.raises(RowFailed, match="replica"):
        world.follow(rewrap(world.row.key, ids))
    assert world.revision == 0


def test_a_conflict_begins_again_with_what_is_there() -> None:
    world = World(row_of(OLD))

    def another_rewrap() -> None:
        world.meanwhile = lambda: None
        world.put(add_verified(world.row, good("key:new", 77)))

    world.meanwhile = another_rewrap
    assert world.rewrap() is Outcome.there
    assert world.row.verified == (OLD, good("key:new", 77))


def test_conflicts_without_end_are_given_up() -> None:
    world = World(row_of(OLD))

    def somebody() -> None:
        world.revision += 1

    world.meanwhile = somebody
    with pytest.raises(RowFailed, match="again and again"):
        world.rewrap()


def test_a_write_whose_answer_was_lost_is_found() -> None:
    world = World(row_of(OLD))
    world.lost = {3}
    assert world.rewrap() is Outcome.there
    assert world.revision == 1


class Forgetful(World):
    """A keystore that says it has written, and has not."""

    def put(self, row: KeystoreRow) -> None:
        pass


def test_what_is_not_there_when_it_is_read_back_does_not_count() -> None:
    world = Forgetful(row_of(OLD, good("key:new")))
    world.backed_up = {good("key:new")}
    with pytest.raises(RowFailed, match="again and again"):
        world.drop()
    world = Forgetful(row_of(OLD))
    with pytest.raises(RowFailed, match="again and again"):
        world.rewrap()


def test_a_full_row_says_so() -> None:
    world = World(row_of(OLD, *(good(f"key:{number}") for number in range(7))))
    with pytest.raises(RowFailed, match="eight"):
        world.rewrap()


# --- the second pass


def test_the_old_key_goes_against_its_proof() -> None:
    new = good("key:new")
    world = World(row_of(OLD, new, OTHER, imported=()))
    world.backed_up = {new}
    assert world.drop() is Outcome.dropped
    assert world.kinds() == ["Read", "Prove", "Write"]
    assert world.row.verified == (new, OTHER)
    assert world.drop() is Outcome.there


def test_imported_recipients_of_the_old_key_go_as_well() -> None:
    new = good("key:new")
    world = World(row_of(new, imported=(OLD, bad("key:old"), OTHER)))
    world.backed_up = {new}
    assert world.drop() is Outcome.dropped
    assert world.row.recipients == (new, OTHER)


@pytest.mark.parametrize(
    ("row", "backed_up", "reason"),
    [
        (row_of(OLD), set(), "no verified"),
        (row_of(OLD, imported=(good("key:new"),)), {good("key:new")}, "no verified"),
        (row_of(OLD, good("key:new")), set(), "backup"),
        (row_of(OLD, good("key:new")), {good("key:new", 2)}, "backup"),
        (row_of(OLD, bad("key:new")), {bad("key:new")}, "does not open"),
    ],
)
def test_nothing_goes_without_a_proof(row: KeystoreRow, backed_up: set[Recipient], reason: str) -> None:
    world = World(row)
    world.backed_up = backed_up
    with pytest.raises(RowFailed, match=reason):
        world.drop()
    assert world.revision == 0


def test_a_proof_that_is_replaced_meanwhile_lets_nothing_go() -> None:
    new = good("key:new")
    world = World(row_of(OLD, new))
    world.backed_up = {new}

    def replaced() -> None:
        world.put(add_verified(world.row, good("key:new", 2), world.row.verified[1].ciphertext))

    world.meanwhile = replaced
    with pytest.raises(RowFailed, match="backup"):
        world.drop()
    assert OLD in world.row.verified


# --- whatever happens

RECIPIENTS = st.builds(
    lambda key_id, is_good, number: (good if is_good else bad)(key_id, number),
    st.sampled_from(["key:old", "key:new", "key:other"]),
    st.booleans(),
    st.integers(0, 3),
)


@st.composite
def rows(draw: st.DrawFn) -> KeystoreRow:
    verified = draw(st.lists(RECIPIENTS, max_size=3, unique_by=lambda one: one.key_id))
    names = {one.key_id for one in verified}
    imported = [one for one in draw(st.lists(RECIPIENTS, max_size=4, unique=True)) if one.key_id not in names]
    return row_of(*verified, imported=tuple(imported)) if verified or imported else row_of(OLD)


def opens(row: KeystoreRow) -> bool:
    return any(one.ciphertext.startswith(b"good") for one in row.recipients)


def ended(world: World, pass_: Callable[[], Outcome]) -> object:
    try:
        return pass_()
    except RowFailed as error:
        return error.reason
    except InvalidCiphertext:
        return "invalid"


def end_state(row: KeystoreRow) -> tuple[bytes, list[str], list[str]]:
    return row.id, [one.key_id for one in row.verified], sorted({one.key_id for one in row.imported})


@given(rows(), st.lists(st.integers(0, 7), max_size=4), st.sets(st.integers(1, 12)))
def test_killed_anywhere_and_run_again_it_ends_the_same(row: KeystoreRow, lives: list[int], lost: set[int]) -> None:
    whole = World(row)
    expected = ended(whole, whole.rewrap)
    world = World(row)
    for life in lives:
        world.life, world.lost, world.done = life, lost, []
        before = world.row
        with suppress(Killed):
            ended(world, world.rewrap)
        bad_new = {one for one in before.verified if one.key_id == "key:new" and one.ciphertext.startswith(b"bad")}
        kept = {one for one in before.recipients if one.key_id != "key:new"}
        assert kept <= set(world.row.recipients), "it never has less than before"
        assert {one for one in before.verified if one not in bad_new} <= set(world.row.verified)
        assert opens(world.row) or not opens(before)
    world.life, world.lost, world.done = 1_000, set(), []
    last = ended(world, world.rewrap)
    assert end_state(world.row) == end_state(whole.row)
    assert last == expected or (expected is Outcome.added and last is Outcome.there)


@given(rows(), st.lists(st.integers(0, 6), max_size=4), st.booleans())
def test_the_second_pass_killed_anywhere_never_leaves_a_row_closed(
    row: KeystoreRow, lives: list[int], kept: bool
) -> None:
    whole, world = World(row), World(row)
    for one in (whole, world):
        one.backed_up = set(row.verified) if kept else set()
    expected = ended(whole, whole.drop)
    for life in lives:
        world.life, world.done = life, []
        with suppress(Killed):
            ended(world, world.drop)
        assert opens(world.row) or not opens(row)
    world.life, world.done = 1_000, []
    last = ended(world, world.drop)
    assert world.row == whole.row
    assert last == expected or (expected is Outcome.dropped and last is Outcome.there)
    if expected is Outcome.dropped:
        assert any(one.key_id == "key:new" and one.ciphertext.startswith(b"good") for one in whole.row.verified)
        assert not [one for one in whole.row.recipients if one.key_id == "key:old"]
