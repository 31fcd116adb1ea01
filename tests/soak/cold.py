"""A fresh process that reads all histories and opens each payload in them, with nothing at hand but the keys."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms
from tests.soak.command import address, connect, log_to_stderr, parser, sabotaged, sentinel

COLD = "cold.json"
KEPT = "histories"
"""Folder for the histories of what did not go well, sealed as they are."""

_AT_ONCE = 12
_MOST_KEPT = 200
_ENVELOPE = b"binary/envelope-v1"
_REFERENCE = b"json/external-storage-reference"


class Histories:
    """What was found in histories.

    Attributes:
        counts: of runs by state, of histories and payloads.
        errors: of payloads that did not open, by the kind of workflow; empty if all is well.
    """

    def __init__(self, plain: Client, converter: DataConverter) -> None:
        self._plain = plain
        self._converter = converter
        self._content = sentinel().encode()
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    async def read(self, runs: list[tuple[str, str]]) -> None:
        """Read these runs of workflows, some at a time."""
        waiting = iter(runs)

        async def some() -> None:
            for id, run_id in waiting:
                await self._read(id, run_id)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))

    async def _read(self, id: str, run_id: str) -> None:
        history = await self._plain.get_workflow_handle(id, run_id=run_id).fetch_history()
        payloads = [payload for event in history.events for payload in payloads_in(event)]
        self.counts["histories"] += 1
        for payload in payloads:
            await self._open(id, payload)

    async def _open(self, id: str, payload: Payload) -> None:
        self.counts["payloads"] += 1
        sealed = payload.metadata.get("encoding") == _ENVELOPE
        self.counts["stored" if payload.external_payloads else "sealed" if sealed else "in clear"] += 1
        try:
            [value] = await self._converter.decode([payload], [RawValue])
        except Exception as error:
            self.errors[f"{type(error).__name__} in {_kind(id)}"] += 1
            return
        self.counts["with content"] += self._content in value.payload.data
        if not sealed and not payload.external_payloads and self._content in payload.data:
            self.errors[f"plaintext in {_kind(id)}"] += 1


def _kind(id: str) -> str:
    return id.split("-")[1] if id.count("-") > 1 else "another"


async def _all_runs(plain: Client) -> dict[tuple[str, str], str]:
    """Every run that the server knows of, with its state."""
    runs = {}
    async for one in plain.list_workflows(page_size=1_000):
        assert one.status is not None
        runs[one.id, one.run_id] = one.status.name
    return runs


async def _texts_of(plain: Client, runs: list[tuple[str, str]]) -> dict[str, str]:
    """These histories as JSON, by names of files."""
    texts = {}
    for id, run_id in runs[:_MOST_KEPT]:
        history = await plain.get_workflow_handle(id, run_id=run_id).fetch_history()
        texts[f"{id}.{run_id}.json"] = history.to_json()
    return texts


async def _read(
    folder: Path, most: int, seed: int, troubled: set[str], wrong: set[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What was found, and the histories to keep."""
    settings: dict[str, Any] = {"sealing": False, "require_encryption": False}
    config = EnvelopeConfig.from_file(folder / "direct.toml").model_copy(update=settings)
    if sabotaged("lost"):
        config = EnvelopeConfig(key=FakeKms(), sealing=False)
    plain = await connect(address(folder, "direct"))
    with EnvelopePlugin(config) as plugin:
        client = await connect(address(folder, "direct"), plugins=[plugin])
        runs = await _all_runs(plain)
        chosen = sorted(runs)
        if len(chosen) > most:
            first = [run for run in chosen if run[0] in troubled]
            rest = [run for run in chosen if run[0] not in troubled]
            chosen = first + random.Random(seed).sample(rest, max(0, most - len(first)))
        found = Histories(plain, client.data_converter)
        await found.read(chosen)
    still_open = [run for run, state in runs.items() if state == WorkflowExecutionStatus.RUNNING.name]
    kept = await _texts_of(plain, still_open + [run for run in runs if run[0] in wrong])
    told = {
        "runs": len(runs),
        "states": dict(Counter(runs.values())),
        "open": [id for id, _ in still_open],
        **found.counts,
        "errors": dict(found.errors),
    }
    return told, kept


def main() -> None:
    options = parser()
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--most", type=int, required=True)
    options.add_argument("--troubled", type=Path, required=True)
    chosen = options.parse_args()
    log_to_stderr()
    given = json.loads(chosen.troubled.read_text())
    reading = _read(chosen.folder, chosen.most, chosen.seed, set(given["troubled"]), set(given["wrong"]))
    told, kept = asyncio.run(reading)
    for name, text in kept.items():
        (chosen.folder / KEPT).mkdir(exist_ok=True)
        (chosen.folder / KEPT / name).write_text(text)
    (chosen.folder / COLD).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
