"""Rewraps that are killed: ``python -m tests.support.rewrap_killed FOLDER URL TRIALS [SEED]``.

Each pass runs in a process of its own, which gets SIGKILL at a random moment, and then again to its end. URL is that of
a keystore in a SQL database, with its table. The master keys are key files. It prints the seed, and how many were
killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Timer

from sqlalchemy import create_engine, text

import envelope_codec.cli.keystore.command
import envelope_codec.cli.rewrap.command  # noqa: F401 - here, and not anew in each child
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.keystore_row import KeystoreRow, parse_row
from envelope_codec.kms import master_key
from tests.support.rewrapped_rows import row_by

ROWS = 40
WHOLE = 60.0  # seconds: more than a pass takes
REAL = "row_key IS NOT NULL AND length(data) > 0"  # not what a check left


class Trial:
    """A keystore and two key files."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        for name in ("old", "new"):
            create_key_file(folder / f"{name}.json")
        self.old, self.new = (key_uri(folder / f"{name}.json") for name in ("old", "new"))
        text = f'key = "{self.new}"\ndecrypt_keys = ["{self.old}"]\nkeystore = "{url}"\n'
        (folder / "envelope.toml").write_text(text)
        self.url = url.replace("+aiosqlite", "")
        self.made = sorted((row_by(master_key(self.old)) for _ in range(ROWS)), key=lambda row: row.key)

    def command(self, *arguments: str, keys: bool = True) -> list[str]:
        named = ["--from", self.old, "--to", self.new] if keys else []
        return [*arguments, *named, "--config", str(self.folder / "envelope.toml")]

    def reset(self) -> None:
        """Put the rows into the keystore as they were made."""
        given = [{"key": row.key, "data": row.serialize(), "revision": "made"} for row in self.made]
        self._execute("DELETE FROM envelope_keystore", ())
        self._execute("INSERT INTO envelope_keystore VALUES (:key, :data, :revision)", given)

    def rows(self) -> list[KeystoreRow]:
        kept = self._execute(f"SELECT row_key, data FROM envelope_keystore WHERE {REAL} ORDER BY row_key", ())
        return [parse_row(bytes(key), bytes(data)) for key, data in kept]

    def _execute(self, statement: str, values: Iterable[dict[str, object]]) -> list[tuple[bytes, bytes]]:
        engine = create_engine(self.url)  # a new one each time: no connection may be there when a child is forked
        try:
            with engine.begin() as connection:
                result = connection.execute(text(statement), list(values) or None)
                return [(row[0], row[1]) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()


def in_child(work: Callable[[], None], seconds: float = WHOLE) -> int:
    """Do ``work`` in a child, which is killed after so many seconds. Return its exit status."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 70
        try:
            work()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    timer = Timer(seconds, os.kill, (process, signal.SIGKILL))
    timer.start()
    # Not yet reaped, so that its id can't be another process's when the timer kills it.
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    timer.cancel()
    timer.join()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_pass(trial: Trial, command: list[str], seconds: float, check: Callable[[list[KeystoreRow]], None]) -> bool:
    status = in_child(lambda: main(command), seconds)
    assert status in (0, -signal.SIGKILL), status
    check(trial.rows())
    assert in_child(lambda: main(command)) == 0
    return status != 0


def one(trial: Trial, number: int, first_end: float, second_end: float) -> int:
    """Do both passes, each killed once. Return how many were."""
    trial.reset()
    old, new = (master_key(uri).key_id for uri in (trial.old, trial.new))

    def nothing_less(rows: list[KeystoreRow]) -> None:
        assert [row.key for row in rows] == [row.key for row in trial.made]
        assert all(set(was.verified) <= set(row.verified) for was, row in zip(trial.made, rows, strict=True))

    def all_open(rows: list[KeystoreRow]) -> None:
        assert [row.key for row in rows] == [row.key for row in trial.made]
        assert all(new in {one.key_id for one in row.verified} for row in rows)

    first = killed_pass(trial, trial.command("rewrap", "-y"), first_end, nothing_less)
    assert [[one.key_id for one in row.verified] for row in trial.rows()] == [[old, new]] * ROWS
    backup = str(trial.folder / f"backup-{number}")
    assert in_child(lambda: main(trial.command("keystore", "export", backup, keys=False))) == 0
    drop = trial.command("rewrap", "-y", "--drop-old", "--backup", backup)
    second = killed_pass(trial, drop, second_end, all_open)
    assert [[one.key_id for one in row.verified] for row in trial.rows()] == [[new]] * ROWS
    return first + second


def run(folder: Path, url: str, trials: int, seed: int) -> None:
    print("seed", seed, flush=True)
    moments = random.Random(seed)
    trial = Trial(folder, url)
    trial.reset()
    begun = time.monotonic()
    assert in_child(lambda: main(trial.command("rewrap", "-y"))) == 0
    seconds = time.monotonic() - begun
    killed = 0
    for number in range(trials):
        killed += one(trial, number, moments.uniform(0, seconds), moments.uniform(0, seconds))
    print("killed", killed)


if __name__ == "__main__":
    run(
        Path(sys.argv[1]),
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().randrange(2**32),
    )
