"""The findings on a backup of the keystore."""

from __future__ import annotations

from collections.abc import Iterator

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.doctor.keystore import KeystoreProbe
from envelope_codec.cli.doctor.keystore_backup import BackupProbe

_SUBJECT = "keystore backup"
_EXPORT = "make another one: envelope-codec keystore export FILE"


def backup_findings(backup: BackupProbe, keystore: KeystoreProbe) -> Iterator[Finding]:
    """Say whether a restore would serve, and what could not be proved of that."""
    if backup.defect:
        yield problem(Code.keystore_backup_unusable, _SUBJECT, backup.defect, _EXPORT)
        return
    if backup.lacking:
        yield problem(
            Code.keystore_backup_lacks_rows,
            _SUBJECT,
            f"it has not got {backup.lacking:,} of the {backup.compared:,} rows of the keystore that were looked for, "
            "or not with all their recipients",
            _EXPORT,
        )
    if backup.error is not None:
        yield problem(
            Code.keystore_backup_not_opened,
            _SUBJECT,
            f"the configured master keys open {backup.opened} of the {backup.tried} rows that were tried: "
            f"{backup.error.reason}",
            "name the master keys that open them in decrypt_keys; if they are gone, what only these rows open is lost",
        )
    unproved = list(_unproved(backup, keystore))
    if unproved:
        fix = "let this role list the rows, set a longer --timeout, or name namespaces with --namespace"
        yield advice(Code.keystore_backup_unproved, _SUBJECT, "; ".join(unproved), fix)


def _unproved(backup: BackupProbe, keystore: KeystoreProbe) -> Iterator[str]:
    if backup.rows is None:
        yield "it was not read to its end in time"
    elif not keystore.whole and backup.compared:
        yield (
            f"the first {backup.compared:,} rows of the keystore were looked for in it, and there are more: their keys "
            "are digests, so that the first are a random sample"
        )
    elif not keystore.whole:
        yield "the rows of the keystore could not be read, and none was looked for in it"
    if not backup.sampled:
        yield "not all rows that were to be tried were opened in time"
    elif backup.rows and not backup.tried:
        yield "none of its rows is of a namespace that has a master key here, and none was opened"
