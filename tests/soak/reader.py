"""Reads histories as Temporal's Web UI does: as they are, and then it asks the codec server to decode them."""

from __future__ import annotations

import asyncio
import http.client
import random
import ssl
from collections import deque
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client

from envelope_codec.temporal.payload_walk import payloads_in
from tests.soak.command import address, connect, end_of, log_to_stderr, parser, sentinel
from tests.soak.journal import Journal
from tests.soak.starter import OUTCOMES

READINGS = "readings.jsonl"
_MOST = 40  # payloads in one request
_RECENT = 50


class Reader:
    """One reader. What it gets is written down as a word: right, wrong, or why there was no answer."""

    def __init__(self, folder: Path, codec: str, every: float, client: Client) -> None:
        self._folder = folder
        self._every = every
        self._host, _, self._port = codec.partition(":")
        self._client = client
        self._journal = Journal(folder / READINGS)
        self._ids: deque[str] = deque(maxlen=_RECENT)
        self._place = 0
        self._chance = random.Random(0)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look_for_ids()
            if not self._ids:
                continue
            try:
                history = await self._client.get_workflow_handle(self._chance.choice(self._ids)).fetch_history()
            except Exception:
                continue  # Temporal is away
            payloads = [payload for event in history.events for payload in payloads_in(event)][:_MOST]
            said = await asyncio.to_thread(self._ask, payloads)
            self._journal.write(said=said, payloads=len(payloads))

    def _look_for_ids(self) -> None:
        """Ids of workflows that have ended since the last look."""
        path = self._folder / OUTCOMES
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._place)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._place += len(line)
                id = line.partition(b'"id": "')[2].partition(b'"')[0].decode()
                if id and "-schedule-" not in id:
                    self._ids.append(id)

    def _ask(self, payloads: list[Payload]) -> str:
        body = json_format.MessageToJson(Payloads(payloads=payloads))
        try:
            trusted = ssl.create_default_context(cafile=str(self._folder / "codec.crt"))
            connection = http.client.HTTPSConnection(self._host, int(self._port), timeout=40, context=trusted)
            try:
                headers = {"Content-Type": "application/json", "X-Namespace": "default"}
                connection.request("POST", "/decode", body, headers)
                reply = connection.getresponse()
                data, failed = reply.read(), reply.getheader("X-Envelope-Failed")
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {type(error).__name__}"
        if reply.status != 200:
            return f"status {reply.status}"
        return "some failed" if failed else _judge(payloads, json_format.Parse(data, Payloads()).payloads)


def _judge(asked: list[Payload], got: Any) -> str:
    sealed = [one.metadata.get("encoding") == b"binary/envelope-v1" for one in got]
    if len(asked) != len(got) or any(sealed):
        return "wrong"
    return "right" if any(sentinel().encode() in one.data for one in got) else "wrong"


async def _read(folder: Path, codec: str, every: float) -> None:
    end = end_of(asyncio.get_running_loop())
    reading = asyncio.ensure_future(Reader(folder, codec, every, await connect(address(folder))).run())
    ending = asyncio.ensure_future(end.wait())
    await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        reading.result()
    reading.cancel()


def main() -> None:
    options = parser()
    options.add_argument("--codec", required=True)
    options.add_argument("--every", type=float, required=True, help="seconds")
    chosen = options.parse_args()
    log_to_stderr()
    asyncio.run(_read(chosen.folder, chosen.codec, chosen.every))


if __name__ == "__main__":
    main()
