"""A process of a fleet that starts cold: it seals when it is told to, and opens what all have sealed.

``python -m tests.support.sharing_process FILE``: the settings. It prints ``ready``, waits for a line, and prints a
payload that it has sealed; then it reads payloads, one a line until an empty one, and prints how many it has opened.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig


async def main(file: Path) -> None:
    codec = EnvelopeCodec(EnvelopeConfig.from_file(file), namespace="default")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')
    [sealed] = await codec.encode([payload])
    print(sealed.SerializeToString().hex(), flush=True)
    others = []
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        others.append(Payload.FromString(bytes.fromhex(line)))
    opened = [await codec.decode([other]) for other in others]
    print(sum(found == [payload] for found in opened), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    codec.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
