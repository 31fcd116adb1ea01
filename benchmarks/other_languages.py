"""What a payload costs a worker in TypeScript that asks the codec server, beside one in Python that seals by itself.

The codec server and the codec of `examples/typescript` run as processes of their own on loopback, without TLS and
without tokens, with keys at hand. Round trips over a network come on top. Python seals and opens such payloads here.
Run: ``make typescript`` once, then ``python benchmarks/other_languages.py``; with ``--table`` it prints rows for the
documents.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.api.common.v1 import Payload

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.codec_server import free_port, running
from envelope_codec import EnvelopeCodec
from envelope_codec.cli.keygen import create_key_file, key_uri

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "typescript"
SECONDS = 0.5  # of one measurement in Python
ROUNDS = 3


class Cost(NamedTuple):
    """What one payload cost.

    Attributes:
        waited: seconds from call to call, divided by its payloads.
        used: processor seconds of the worker.
    """

    waited: float
    used: float


def asked(settings: dict[str, str]) -> Iterator[tuple[str, Cost]]:
    """What TypeScript measured, by name of the case, again for each round."""
    command = ["node", "lib/bench.js"]
    done = subprocess.run(command, cwd=EXAMPLE, env={**os.environ, **settings}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    for line in done.stdout.splitlines():
        said = json.loads(line)
        payloads = said["calls"] * said["payloads"]
        yield said["name"], Cost(said["seconds"] / payloads, said["processorSeconds"] / payloads)


async def measure(call: Callable[[], Coroutine[Any, Any, Any]], payloads: int) -> Cost:
    """What one of ``payloads`` costs where ``call`` handles all of them."""
    calls, begun, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < SECONDS:
        await call()
        calls += 1
    return Cost((time.perf_counter() - begun) / calls / payloads, (time.process_time() - used) / calls / payloads)


async def by_itself(codec: EnvelopeCodec) -> list[tuple[str, Cost]]:
    """What Python measured, by name of the case, again for each round."""
    found = []
    for _ in range(ROUNDS):
        for label, size, payloads in (
            ("1 payload of 1 KiB", 1 << 10, 1),
            ("100 payloads of 1 KiB", 1 << 10, 100),
            ("1 payload of 64 KiB", 1 << 16, 1),
            ("1 payload of 1 MiB", 1 << 20, 1),
        ):
            text = b'"' + os.urandom(size // 2).hex().encode()[2:] + b'"'
            given = [Payload(metadata={"encoding": b"json/plain"}, data=text)] * payloads
            sealed = await codec.encode(given)
            found.append((f"encode {label}", await measure(lambda given=given: codec.encode(given), payloads)))  # type: ignore[misc]
            found.append((f"decode {label}", await measure(lambda sealed=sealed: codec.decode(sealed), payloads)))  # type: ignore[misc]
    return found


def medians(found: list[tuple[str, Cost]]) -> dict[str, Cost]:
    """The median of all rounds, by name of the case."""
    return {
        name: Cost(
            statistics.median(cost.waited for case, cost in found if case == name),
            statistics.median(cost.used for case, cost in found if case == name),
        )
        for name in dict(found)
    }


def spell(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def main() -> int:
    """Run both, and print what one payload costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", action="store_true", help="print a table for the documents")
    arguments = parser.parse_args()
    subprocess.run([EXAMPLE / "node_modules" / ".bin" / "tsc"], cwd=EXAMPLE, check=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        create_key_file(Path(folder) / "key.json")
        uri = key_uri(Path(folder) / "key.json")
        settings = {
            "ENVELOPE_CODEC_KEY": uri,
            "ENVELOPE_CODEC_SERVER_RATE_LIMIT": "off",
            "ENVELOPE_CODEC_SERVER_AUDIT_FILE": str(Path(folder) / "audit"),
        }
        serve = [sys.executable, "-m", "envelope_codec.cli", "serve", "--listen", f"127.0.0.1:{port}"]
        with running(serve, port, settings):
            typescript = medians(list(asked({"CODEC_URL": f"http://127.0.0.1:{port}"})))
        codec = EnvelopeCodec(uri, namespace="default")
        python = medians(asyncio.run(by_itself(codec)))
        codec.close()
    print(f"What one payload costs; medians of {ROUNDS} rounds")
    if arguments.table:
        print("| | TypeScript waits | its processor | Python waits |\n| --- | ---: | ---: | ---: |")
    for name, cost in typescript.items():
        alone = spell(python[name].waited) if name in python else ""
        cells = (name, spell(cost.waited), spell(cost.used), alone)
        print(f"| {' | '.join(cells)} |" if arguments.table else "{:45} {:>9} {:>9} {:>9}".format(*cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
