"""The pace: requests go evenly, and a pause saves none up."""

from __future__ import annotations

from envelope_codec.cli.reading.pace import Pace


async def test_requests_are_spaced() -> None:
    now, waits = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    pace = Pace(10, lambda: now[0], sleep)
    for _ in range(3):
        await pace()
    assert waits == [0.1, 0.2]
    now[0] = 200.0
    await pace()
    await pace()
    assert waits == [0.1, 0.2, 0.1]


async def test_time_is_the_event_loops() -> None:
    pace = Pace(1e9)
    await pace()
    await pace()
