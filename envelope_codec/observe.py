"""Events for metrics and logs: one for each operation, reported to one `Observer`."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple, Protocol

from envelope_codec._frames import text_of

logger = logging.getLogger("envelope_codec")

_LINES_A_SECOND = 20
_KEYSTORE_FIX = "`envelope-codec keystore check` says what is wrong with the keystore"
_RETIRED = "; payloads of a master key that was retired need their keystore: docs/rekeying.md"
_FIXES = {
    "KeyDenied": "enable the key or give the permission back, unless it was withdrawn on purpose: `envelope-codec "
    "doctor` says what is missing",
    "KeyNotConfigured": "name the master key in key, backup_keys or decrypt_keys of that namespace, and check with "
    "`envelope-codec doctor`",
}


class Event(NamedTuple):
    """One operation that has ended.

    Attributes:
        operation: what was done.

            - ``wrap``, ``unwrap``: one KMS call.
            - ``seal``, ``open``: payloads.
            - ``legacy``: payloads that were no envelopes, and that a legacy codec or Temporal's proxy had sealed.
            - ``pass``: payloads that were no envelopes, and stayed as they were.
            - ``compress``: payloads that were sealed while ``compression`` is on, whether or not they shrank.
            - ``put``, ``get``: one call of a datastore.
            - ``lookup``, ``publish``: a record's row was read from the keystore, or written there. With the outcome
              ``MalformedRow``, what was read is no row, and counts as absent.
            - ``share``: the keystore's active slot was read or written, or a row for its sake. With the outcome
              ``NotAdopted``, the wrapping key that the slot names may not seal here; with ``NotShared``, this process
              makes one of its own.
            - ``queue``: another number of records waits to be published, where that is not required.
            - ``recall``: a key to open with was not at hand, and was looked for in a ``cache``.
            - ``refuse``: something was refused by a budget before any work. The reason is its name.
            - ``close``: the keyring was closed.
            - ``key``: a wrapping key begins to seal, and more than one master key was to wrap it. In direct mode, a
              data key whose number of recipients is another than before.
        outcome: ``ok``, or the class name of the error.
        namespace: the Temporal namespace concerned.
        key_id: the master key concerned, or the name of the datastore; ``""`` if there is none. For the operation
            ``key``, the master key of the setting ``key``.
        seconds: how long the operation took; 0.0 where that is not measured.
        payloads: how many payloads; 0 for a call of a KMS or a datastore.
        reason: the error's text, ``""`` if there is none.
        recipients: for the operation ``key``, how many master keys have wrapped the key.
        lacking: for the operation ``key``, how many master keys were to wrap the key and did not.
        bytes_before: for the operation ``compress``, the bytes of the payloads as they came.
        bytes_after: for the operation ``compress``, the bytes of them that were encrypted.
        queued: for the operation ``queue``, how many records wait to be published.
        provider: for a call of a KMS, the short name of what provides the master key, such as ``local``.
        size: for the operations ``seal`` and ``open``, the bytes of the payloads as they came: of those to seal in
            clear, of those to open encrypted. 0 where they failed.
        fetched: for the operation ``open``, how many of the payloads' keys were not at hand.
        cache: for the operation ``recall``, where it was looked: ``opening`` for keys, ``refusal`` for refusals.
        hit: for the operation ``recall``, whether it was found.
    """

    operation: str
    outcome: str
    namespace: str
    key_id: str = ""
    seconds: float = 0.0
    payloads: int = 0
    reason: str = ""
    recipients: int = 0
    lacking: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    queued: int = 0
    provider: str = ""
    size: int = 0
    fetched: int = 0
    cache: str = ""
    hit: bool = False


class Observer(Protocol):
    """What receives events, from many threads and outside locks. It must be quick. What it raises is logged.

    It may have more than that, as those in `envelope_codec.metrics` have:

    - ``watch_keyring(keyring)`` is called with each `Keyring` that reports to it, when that is made;
    - ``name_keys(key_ids)`` is called with the setting ``metrics_key_ids``, when a configuration makes a keyring;
    - ``carries_context = True`` has calls made in the context (`contextvars`) of the caller who first wants them;
    - ``wants_successes = False`` spares it events of payloads that were sealed and opened.
    """

    def on_event(self, event: Event) -> None:
        """Take note of ``event``."""
        ...


class LogObserver:
    """Logs to ``logging.getLogger("envelope_codec")``: failures as warnings, KMS calls as debug.

    Whoever can write to Temporal can cause any number of failures, and a log handler may block the event loop. So at
    most 20 a second of one operation and outcome are logged, and then the number of those that were left out.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], tuple[int, int]] = {}

    def on_event(self, event: Event) -> None:
        """Log ``event``, unless too many like it were logged in this second."""
        if event.outcome == "ok":
            if event.operation in ("wrap", "unwrap", "put", "get", "lookup", "publish", "share"):
                logger.debug(
                    "%s in %.1f ms, namespace %.200r, key %s",
                    event.operation,
                    event.seconds * 1000,
                    event.namespace,
                    event.key_id,
                )
            return
        left_out = self._left_out(event.operation, event.outcome)
        if left_out is None:
            return
        if left_out:
            logger.warning("%d more failures of %s, %s, were not logged", left_out, event.operation, event.outcome)
        advice = _KEYSTORE_FIX if event.operation in ("lookup", "publish", "share") else fix(event.outcome)
        if event.operation in ("open", "unwrap") and event.outcome in _FIXES:
            advice += _RETIRED
        logger.warning(
            "%s failed: %s: %s (namespace %.200r, key %s)%s",
            event.operation,
            event.outcome,
            event.reason,
            event.namespace,
            event.key_id or "-",
            f"; {advice}" if advice else "",
        )

    def _left_out(self, operation: str, outcome: str) -> int | None:
        """Return how many such failures were left out before this one; None if this one is left out as well.

        Not locked: what threads can do at worst is to miscount.
        """
        second, now = self._seconds.get((operation, outcome), (0, 0)), int(time.monotonic())
        began, count = second
        if began == now:
            self._seconds[operation, outcome] = began, count + 1
            return 0 if count < _LINES_A_SECOND else None
        self._seconds[operation, outcome] = now, 1
        return max(0, count - _LINES_A_SECOND)


def tell_observer(observer: Observer, what: str, value: object) -> None:
    """Call the method ``what`` of ``observer`` with ``value``, if it has one. Its error is logged."""
    method = getattr(observer, what, None)
    if method is None:
        return
    try:
        method(value)
    except Exception as error:
        logger.error("the observer failed: %s", text_of(error))


def fix(outcome: str) -> str:
    """Return what to do about an error of this class name, for the end of a log line; ``""`` if that is not known."""
    return _FIXES.get(outcome, "")


def report(observer: Observer, event: Event) -> None:
    """Hand ``event`` to ``observer``. A faulty observer must not fail a payload: its error is logged."""
    try:
        observer.on_event(event)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a CancelledError of its own among them, which would leave a run stuck
        logger.error("the observer failed: %s", text_of(error))
