"""The work of a distributed rewrap on one slice of the rows, as an activity."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from temporalio import activity
from temporalio.exceptions import ApplicationError

from envelope_codec.cli.distributed.heartbeat import Heartbeat, beating
from envelope_codec.cli.distributed.served import check_version
from envelope_codec.cli.reading.pace import Pace
from envelope_codec.cli.rewrap.backup import Backup
from envelope_codec.cli.rewrap.master_keys import MasterKeys, load_master_keys
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.cli.rewrap.slice import Done, slice_of
from envelope_codec.cli.rewrap.steps import KeyIds, Steps, drop_old, rewrap
from envelope_codec.cli.row_batches import Rows
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.key_sets import keys_of_entry, list_keys
from envelope_codec.kms import master_key

CHUNK = 200
"""After how many rows it is told how they ended."""


@dataclass(frozen=True)
class Request:
    """What is rewrapped, and how.

    Attributes:
        version: of the package that asked.
        old: the master key that is to go, as the user named it.
        new: the one that is to come.
        namespaces: whose rows are worked on; empty for all.
        backup: SHA-256 of the backup, for a second pass; empty for a first one.
        slices: how many slices there are.
        at_once: how many slices are worked on at once.
        in_flight: how many calls are under way at once, of all workers together.
        rate: calls a second that the KMS gets at most, of all workers together.
        takeover: after how many seconds without a sign of life a slice is given to another worker.
    """

    version: str
    old: str
    new: str
    namespaces: list[str]
    backup: str
    slices: int
    at_once: int
    in_flight: int
    rate: float
    takeover: float


@dataclass(frozen=True)
class SliceWork:
    """A slice that is to be worked on."""

    request: Request
    number: int


class _Kept(NamedTuple):
    """A backup that was read, by the digest of its file and the master keys that it was read for."""

    backup: Backup
    digest: str
    ids: KeyIds


class Silent:
    """A `Watcher` that tells nobody."""

    def expect(self, doing: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""


class RewrapWork:
    """The activity.

    Args:
        settings: the configuration. Only its master keys are used, whatever the workflow says, and its ``max_age`` says
            which shared wrapping keys may still be adopted and are left as they are.
        keystore: has the rows.
        backup: what ``envelope-codec keystore export`` wrote; None if this worker serves first passes alone.
        now: Unix seconds.
    """

    def __init__(
        self,
        settings: EnvelopeConfig,
        keystore: Rows,
        backup: Path | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keystore = keystore
        self._backup = backup
        self._now = now
        self._kept: _Kept | None = None
        self._masters: dict[tuple[str, str], MasterKeys] = {}
        self._learning = asyncio.Lock()

    @activity.defn(name="envelope-codec.rewrap.slice")
    async def work(self, work: SliceWork) -> Done:
        """Follow the steps of each row of the slice that names the old master key."""
        request = work.request
        check_version(request.version)
        async with beating() as heartbeat:
            with _failures():
                async with self._learning:
                    masters = await asyncio.to_thread(self._load_masters, request)
                run = Run(
                    self._keystore,
                    masters,
                    in_flight=max(1, request.in_flight // request.at_once),
                    pace=Pace(request.rate / request.at_once),
                    progress=Silent(),
                )
                try:
                    return await self._follow(run, work, masters, heartbeat)
                finally:
                    run.close()

    async def _follow(self, run: Run, work: SliceWork, masters: MasterKeys, heartbeat: Heartbeat) -> Done:
        request, span = work.request, slice_of(work.number, work.request.slices)
        async with self._learning:  # what key ids stand for is learnt by one slice at a time
            youngest_safe = self._now() - self._settings.max_age
            survey = await run.survey(youngest_safe, frozenset(request.namespaces), span=span)
            steps = await asyncio.to_thread(self._steps, request, masters.ids)
        done = _load(heartbeat.last)
        left = [key for key in survey.under_old if key.hex() > done.last]
        while left and not done.untried:
            chunk, left = left[:CHUNK], left[CHUNK:]
            done.add(await run.follow_all("", chunk, steps))
            done.last = chunk[-1].hex()
            heartbeat.say(json.dumps(asdict(done)))
        done.untried += len(left)
        return done

    def close(self) -> None:
        """Release the connections of the master keys."""
        for masters in self._masters.values():
            masters.close()

    def _load_masters(self, request: Request) -> MasterKeys:
        """Return the two master keys, which must be of this worker's own configuration.

        Otherwise whoever may start a workflow could have secrets wrapped with a key of his own.
        """
        pair = request.old, request.new
        if pair not in self._masters:
            configured = _configured(self._settings)
            for text in pair:
                if text not in configured:
                    raise ConfigurationError("a master key that the command names is not in a worker's configuration")
            self._masters[pair] = load_master_keys(self._settings, *pair)
            self._masters[pair].check()
        return self._masters[pair]

    def _steps(self, request: Request, ids: KeyIds) -> Callable[[bytes], Steps]:
        if not request.backup:
            return lambda key: rewrap(key, ids)
        if self._backup is None:
            raise ConfigurationError("a worker has no backup: give all of them --backup")
        if self._kept is None or (self._kept.digest, self._kept.ids) != (request.backup, ids):
            if digest_of(self._backup) != request.backup:
                raise ConfigurationError("a worker has another backup than the command: give both the same --backup")
            self._kept = _Kept(Backup(self._backup, ids), request.backup, ids)
        return partial(drop_old, ids=ids, is_kept=self._kept.backup.has)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigurationError(f"can't read {str(path)!r}: {error.strerror}") from None


def _configured(config: EnvelopeConfig) -> set[str]:
    """List the master keys of the configuration, as they are spelled there and by key id."""
    entries = ["", *config.namespaces] if config.key is not None else [*config.namespaces]
    names = set[str]()
    for entry in entries:
        for listed in list_keys(*keys_of_entry(config, entry)):
            if isinstance(listed.given, str):
                made = master_key(listed.given)
                names |= {listed.given, made.key_id}
                made.close()
    return names


def _load(text: str) -> Done:
    """Read what the last worker told. What it can't read begins again: to follow steps again changes nothing."""
    try:
        document = json.loads(text or "{}")
        failures = [(str(why), int(rows), str(key), str(words)) for why, rows, key, words in document["failures"]]
        return Done(document["outcomes"], failures, document["untried"], document["calls"], document["last"])
    except (KeyError, TypeError, ValueError):
        return Done()


@contextmanager
def _failures() -> Iterator[None]:
    """Raise what ends the rewrap, and what another attempt may mend, as Temporal's own error."""
    try:
        yield
    except EnvelopeError as error:
        raise ApplicationError(str(error), non_retryable=isinstance(error, ConfigurationError)) from None
