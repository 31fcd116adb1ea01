"""Rewraps that are killed: ``python -m tests.support.rewrap_killed FOLDER TRIALS``. It prints how many were killed.

Each pass runs in a forked child, which a timer kills at a random moment, and then again to its end. The keystore is a
directory, and the master keys are key files.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import envelope_codec.cli.keystore.command
import envelope_codec.cli.rewrap.command  # noqa: F401 - here, and not anew in each child
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.keystore_row import KeystoreRow, parse_row
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.kms import master_key
from tests.support.rewrapped_rows import row_by

ROWS = 40
WHOLE = 30.0  # seconds: more than a pass takes


class Trial:
    """A directory with a keystore and two key files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = (key_uri(folder / f"{name}.json") for name in ("old", "new"))
        text = f'key = "{self.new}"\ndecrypt_keys = ["{self.old}"]\nkeystore = "file://{folder}/keystore"\n'
        (folder / "envelope.toml").write_text(text)

    def command(self, *arguments: str, keys: bool = True) -> list[str]:
        named = ["--from", self.old, "--to", self.new] if keys else []
        return [*arguments, *named, "--config", str(self.folder / "envelope.toml")]

    def rows(self) -> list[KeystoreRow]:
        paths = sorted((self.folder / "keystore").glob(f"??/{'?' * 64}"))  # not what a check left
        return [parse_row(bytes.fromhex(path.name), path.read_bytes()) for path in paths]


def make(folder: Path) -> None:
    (folder / "keystore").mkdir(parents=True)
    for name in ("old", "new"):
        create_key_file(folder / f"{name}.json")

    async def keep() -> None:
        keystore, master = FileKeystore(f"file://{folder}/keystore"), master_key(key_uri(folder / "old.json"))
        for row in (row_by(master) for _ in range(ROWS)):
            await keystore.put(row.key, row.serialize(), None)
        await keystore.close()

    asyncio.run(keep())


def in_child(work: Callable[[], None], seconds: float = 0.0) -> int:
    """Do ``work`` in a child, which is killed after so many seconds if any are given. Return its exit status."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # 0 sets none
        status = 70
        try:
            work()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_pass(trial: Trial, command: list[str], seconds: float, check: Callable[[list[KeystoreRow]], None]) -> bool:
    status = in_child(lambda: main(command), seconds)
    assert status in (0, -signal.SIGALRM), status
    check(trial.rows())
    assert in_child(lambda: main(command)) == 0
    return status != 0


def one(trial: Trial, seconds: float) -> int:
    """Do both passes, each killed once. Return how many were."""
    before = trial.rows()
    old, new = (master_key(uri).key_id for uri in (trial.old, trial.new))

    def nothing_less(rows: list[KeystoreRow]) -> None:
        assert [row.key for row in rows] == [row.key for row in before]
        assert all(set(was.verified) <= set(row.verified) for was, row in zip(before, rows, strict=True))

    def all_open(rows: list[KeystoreRow]) -> None:
        assert [row.key for row in rows] == [row.key for row in before]
        assert all(new in {one.key_id for one in row.verified} for row in rows)

    first = killed_pass(trial, trial.command("rewrap", "-y"), random.uniform(0, seconds) + 1e-6, nothing_less)
    assert [[one.key_id for one in row.verified] for row in trial.rows()] == [[old, new]] * ROWS
    backup = str(trial.folder / "backup")
    assert in_child(lambda: main(trial.command("keystore", "export", backup, keys=False))) == 0
    drop = trial.command("rewrap", "-y", "--drop-old", "--backup", backup)
    second = killed_pass(trial, drop, random.uniform(0, seconds) + 1e-6, all_open)
    assert [[one.key_id for one in row.verified] for row in trial.rows()] == [[new]] * ROWS
    return first + second


def run(folder: Path, trials: int) -> None:
    make(folder / "made")
    for name in ("whole", *map(str, range(trials))):
        shutil.copytree(folder / "made", folder / name)
    whole = Trial(folder / "whole")
    begun = time.monotonic()
    assert in_child(lambda: main(whole.command("rewrap", "-y")), WHOLE) == 0
    seconds = time.monotonic() - begun
    print(sum(one(Trial(folder / str(number)), seconds) for number in range(trials)))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
