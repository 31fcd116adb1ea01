"""The moment T0, at which an audit looks at a namespace."""

from __future__ import annotations

import time

from envelope_codec.cli.reading.reader import ANY_DIVISION, Reader


async def latest_moment(reader: Reader) -> int:
    """Find the latest time that the server itself has written, so that no other clock matters. In milliseconds.

    What starts or ends later has a later time. Where nothing has happened since, an earlier moment is as good.
    """
    latest = 0
    for query in (ANY_DIVISION, f"CloseTime IS NOT NULL AND {ANY_DIVISION}"):
        first = await reader.first(query)
        if first is not None:
            latest = max(latest, first.start_time.ToMilliseconds(), first.close_time.ToMilliseconds())
    return latest + 1 if latest else int(time.time() * 1000)
