"""The findings on the keystore."""

from __future__ import annotations

from collections.abc import Iterator

from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.keystore_backup_findings import backup_findings
from envelope_codec.cli.keystore_hint import keystore_hint
from envelope_codec.errors import EnvelopeError, StoreRefused
from envelope_codec.keystore_role import Role

_SUBJECT = "keystore"


def keystore_findings(probe: KeystoreProbe | None) -> Iterator[Finding]:
    """Say what is wrong with the keystore, and what could not be proved."""
    if probe is None:
        return
    yield from _use_findings(probe)
    if probe.backup is not None:
        yield from backup_findings(probe.backup, probe)


def _use_findings(probe: KeystoreProbe) -> Iterator[Finding]:
    if probe.defect:
        yield _unusable(probe.defect)
        return
    if probe.use is None:
        yield _late("no answer in time from the keystore")
        return
    if probe.use.error is not None:
        yield _failure(probe, probe.use, probe.use.error)
        return
    if probe.listing is None:
        yield _late("the first rows of the keystore did not come in time")
    elif probe.listing.error is not None:
        yield advice(
            Code.keystore_rows_unread,
            _SUBJECT,
            f"its rows can't be listed: {probe.listing.error.reason}",
            "a process that seals or opens need not list rows; whoever backs the keystore up or adds recipients must",
            probe.listing.words,
        )
    if probe.malformed:
        yield problem(
            Code.keystore_rows_malformed,
            _SUBJECT,
            f"{probe.malformed} of the {probe.rows} rows that were read are no rows, and count as absent",
            "find out who writes there; restore those rows from a backup if master keys that they replace are gone; "
            "a later version's rows need that version",
        )
    if probe.rows > probe.malformed and not probe.own:
        yield advice(
            Code.keystore_of_others,
            _SUBJECT,
            f"none of the {probe.rows:,} rows that were read is of a namespace that is examined here",
            "check that the URL names the keystore of this fleet: what others keep in it does no harm, and what this "
            "fleet has sealed has its rows elsewhere, if it has any; name namespaces with --namespace",
        )


def _unusable(defect: str) -> Finding:
    package = defect.partition("needs a missing package")[2].partition(": pip")[2]
    return problem(
        Code.keystore_unusable,
        _SUBJECT,
        f"it can't be used: {defect}",
        f"pip{package}" if package else "correct the setting, or install or mend what it names",
    )


def _late(text: str) -> Finding:
    fix = "check the network to it, and that it runs; or set a longer --timeout"
    return problem(Code.no_answer_in_time, _SUBJECT, text, fix)


def _failure(probe: KeystoreProbe, answer: Answer, error: EnvelopeError) -> Finding:
    code = Code.keystore_refused if isinstance(error, StoreRefused) else Code.keystore_unavailable
    what = "writing what is no row, and reading it," if probe.writes else "reading"
    return problem(
        code,
        _SUBJECT,
        f"{what} failed: {error.reason}",
        keystore_hint(probe.scheme, error, Role.seal if probe.writes else Role.open),
        answer.words,
    )
