"""The SDK's own log, which must not hold what activities heartbeat.

At level DEBUG the SDK logs the details of each heartbeat in clear.
"""

from __future__ import annotations

import logging

_LOGGERS = ("temporalio.activity", "temporalio.worker._activity")
_HEARTBEAT = "Recording heartbeat with details"


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(_HEARTBEAT):
            record.msg, record.args = f"{_HEARTBEAT} that are not shown", ()
        return True


_FILTER = _Filter()


def keep_heartbeats_out() -> None:
    """Leave the details of heartbeats out of the SDK's log, for the life of the process. May be called again."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
