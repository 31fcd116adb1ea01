"""What an audit says of a master key: whether anything still needs it, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.need import PROXIED, Need
from envelope_codec.cli.audit.tally import OTHER_NAMES, OTHERS, OURS, Tally
from envelope_codec.cli.audit.window import Part
from envelope_codec.cli.output import plural
from envelope_codec.cli.payloads.kind import Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class State(str, Enum):
    """Whether a master key is needed."""

    needed = "needed"
    not_needed = "not needed"
    unknown = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one master key.

    Attributes:
        state: whether it is needed.
        sentences: why, in words.
        until: when the server will have deleted the last workflow that has ended and needs it, in Unix seconds. 0 where
            that is not all that needs it.
    """

    state: State
    sentences: tuple[str, ...]
    until: float = 0.0


def judge_key(key_id: str, findings: Findings, *, gaps: list[str], version: str | None = None) -> Verdict:
    """Give the verdict on a master key.

    Args:
        key_id: its key id.
        findings: what the audit found.
        gaps: why the audit is incomplete, as `find_gaps` says.
        version: of the key. None for all of them.
    """
    closed, opened, since = (need_of(key_id, findings.parts.get(part, Tally()), version) for part in Part)
    others = need_of(key_id, findings.others, version)
    sentences, until = [], 0.0
    if closed.payloads:
        until = closed.last_close + findings.retention
        sentences.append(f"still needed by {_amount(closed)} until about {date_text(until)} (retention)")
    if opened.payloads:
        sentences.append(f"needed by open workflows: {_amount(opened)}{_examples(opened)}")
    if others.payloads:
        held = plural(others.payloads, "payload")
        sentences.append(f"needed by {held} in schedules, standalone activities or operations{_examples(others)}")
    for name, tally in findings.stores.items():
        stored = need_of(key_id, tally, version).payloads
        if stored:
            sentences.append(f"needed by {plural(stored, 'payload')} in the datastore {name}")
    if since.payloads:
        sentences.append(f"needed by workflows that have started since: {_amount(since)}{_examples(since)}")
    if findings.whole.seals(key_id, version):
        sentences.append("it seals now: the newest record is under it")
    if sentences:
        only_closed = len(sentences) == 1 and closed.payloads
        more = _more(need_of(key_id, findings.whole, version))
        return Verdict(State.needed, (*sentences, *more), until if only_closed else 0.0)
    if gaps:
        return Verdict(State.unknown, ("nothing that was read needs it, but not everything was read", *gaps))
    archive = ("but the archive of the namespace was not read: it may need it",) if findings.archived else ()
    return Verdict(State.not_needed, ("no history needs it: disable it, watch for a week, then delete", *archive))


def find_gaps(findings: Findings, *, condition: str) -> list[str]:
    """Say why an audit can't prove that a key is not needed. Empty if it can, as far as it can see at all.

    Args:
        findings: what it found.
        condition: the query, if not all workflows were wanted.
    """
    gaps = findings.unfinished
    if condition:
        gaps.append("only the workflows of the query were read")
    return [*gaps, *_gaps_behind_references(findings), *_gaps_in_payloads(findings)]


def _gaps_behind_references(findings: Findings) -> Iterator[str]:
    behind = findings.whole.behind
    ours = plural(behind[OURS], "reference")
    if behind[OURS] and not findings.stores:
        yield f"{ours} to datastores lead to payloads that were not read"
    elif behind[OURS] and not any(tally.kinds[Kind.envelope.value] for tally in findings.stores.values()):
        yield f"{ours} to datastores lead elsewhere: those of the configuration hold nothing of this namespace"
    if behind[OTHERS]:
        yield f"{plural(behind[OTHERS], 'reference')} lead to what other drivers keep"


def _gaps_in_payloads(findings: Findings) -> Iterator[str]:
    whole = findings.whole
    if whole.uncounted:
        yield f"{plural(whole.uncounted, 'payload')} name more master keys than are counted here"
    if later := whole.kinds[Kind.later_version.value]:
        yield f"{plural(later, 'envelope')} of a later version can't be read by this release"
    if (unreadable := sum(whole.unreadable.values()) - later) > 0:
        yield f"{plural(unreadable, 'payload')} can't be read, and may be under any key"
    for encoding, number in sorted(whole.foreign.items()):
        if encoding == OTHER_NAMES:
            yield f"{plural(number, 'payload')} are of more other codecs than are counted here"
        elif encoding not in findings.vouched:
            yield (
                f"{plural(number, 'payload')} of another codec ({encoding}) may hold an envelope: "
                f"if none does, say --foreign {encoding}"
            )


def unseen(findings: Findings) -> list[str]:
    """Say what no audit of this kind can see."""
    archive = "archived histories (the namespace has an archive)" if findings.archived else "archived histories"
    others = ["exported histories", "backups of the server's database", "other namespaces"]
    return [archive, *others, "the workflows as which audits and rewraps run"]


def need_of(key_id: str, tally: Tally, version: str | None = None) -> Need:
    """Merge what is needed of all versions of a master key. Of one alone, if ``version`` is given.

    A workflow that needs two versions counts twice in ``runs``, as nobody knows which it was.
    """
    need = Need()
    for key, one in tally.needs.items():
        if key.key_id == key_id and version in (None, key.version):
            need.merge(one)
    return need


def date_text(seconds: float) -> str:
    """Write a day in UTC. A day that no calendar has is written as seconds."""
    try:
        return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:
        return f"{seconds:.0f} s after 1970"


def _amount(need: Need) -> str:
    return f"{need.payloads:,} {'payload' if need.payloads == 1 else 'payloads'} in {plural(need.runs, 'workflow')}"


def _examples(need: Need) -> str:
    return f" ({', '.join(map(repr, need.examples))}{', …' if need.runs > len(need.examples) else ''})"


def _more(need: Need) -> tuple[str, ...]:
    said = []
    if shared := need.payloads - need.sole:
        said.append(f"{plural(shared, 'payload')} of these name another master key as well")
    if direct := need.purposes["direct"]:
        said.append(f"{plural(direct, 'payload')} of these are in direct mode: each has a key of its own under it")
    if proxied := need.purposes[PROXIED]:
        said.append(f"{plural(proxied, 'payload')} of these were sealed by Temporal's proxy, and can't be rewrapped")
    return tuple(said)
