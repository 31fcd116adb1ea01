"""What happened, for metrics and logs: one event per operation, reported to one `Observer`."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from envelope_codec.frames import text_of

logger = logging.getLogger("envelope_codec")


class Event(NamedTuple):
    """One operation that has ended.

    Attributes:
        operation: ``wrap`` or ``unwrap`` (one KMS call); ``seal``, ``open``, ``legacy`` or ``pass`` (payloads: those
            that pass are no envelopes and stay as they are, unless a legacy codec has opened them); ``put`` or
            ``get`` (one call of a datastore).
        outcome: ``ok``, or the class name of the error.
        namespace: the Temporal namespace concerned.
        key_id: the master key concerned, or the name of the datastore; ``""`` where none is.
        seconds: how long it took; 0.0 where it is not measured.
        payloads: how many of them, 0 for a call of a KMS or a datastore.
        reason: the error's text, ``""`` if there is none.
    """

    operation: str
    outcome: str
    namespace: str
    key_id: str = ""
    seconds: float = 0.0
    payloads: int = 0
    reason: str = ""


class Observer(Protocol):
    """Receives events, from many threads and outside locks; must be quick. What it raises is logged, not passed on."""

    def on_event(self, event: Event) -> None:
        """Take note of ``event``."""
        ...


class LogObserver:
    """Logs to ``logging.getLogger("envelope_codec")``: failures as warnings, KMS calls as debug."""

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        if event.outcome == "ok":
            if event.operation in ("wrap", "unwrap", "put", "get"):
                logger.debug(
                    "%s in %.1f ms, namespace %.200r, key %s",
                    event.operation,
                    event.seconds * 1000,
                    event.namespace,
                    event.key_id,
                )
            return
        logger.warning(
            "%s failed: %s: %s (namespace %.200r, key %s)",
            event.operation,
            event.outcome,
            event.reason,
            event.namespace,
            event.key_id or "-",
        )


def report(observer: Observer, event: Event) -> None:
    """Hand ``event`` to ``observer``; a faulty observer must not fail a payload."""
    try:
        observer.on_event(event)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a CancelledError of its own among them, which would leave a run stuck
        logger.error("the observer failed: %s", text_of(error))
