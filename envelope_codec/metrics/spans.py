"""Spans of OpenTelemetry for calls of a KMS, a datastore and a keystore. There is none for a payload."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from envelope_codec.metrics.labels import KeyIds, Labels
from envelope_codec.metrics.watch import Watched
from envelope_codec.observe import Event, LogObserver, Observer

if TYPE_CHECKING:
    import opentelemetry.trace

_KMS = frozenset({"wrap", "unwrap"})
_STORE = frozenset({"put", "get"})
_KEYSTORE = frozenset({"lookup", "publish", "share"})


class OpenTelemetrySpans:
    """An observer that makes a span of each call of a KMS, a datastore or a keystore.

    A span is a child of the span in which the caller was that first wanted the call. Calls in the background have none,
    and their spans begin traces of their own. Spans hold no text of an error, which may be a provider's words.

    Args:
        tracer: such as ``opentelemetry.trace.get_tracer("envelope_codec")``.
        observer: gets every event as well, such as `OpenTelemetryMetrics`; `LogObserver` if None.
        key_ids: how master keys are named, ``plain`` or ``hashed``; if None, as the setting ``metrics_key_ids`` says.
    """

    carries_context = True
    """Whether calls are to be made in the context of the caller who wants them first."""

    def __init__(
        self, tracer: opentelemetry.trace.Tracer, observer: Observer | None = None, *, key_ids: KeyIds | None = None
    ) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        self._tracer = tracer
        self._kind = SpanKind.CLIENT
        self._failed = Status(StatusCode.ERROR)
        self._then: Observer = LogObserver() if observer is None else observer
        self._labels = Labels(key_ids)

    @property
    def wants_successes(self) -> bool:
        """Whether payloads that were sealed or opened are of interest: not for spans, but perhaps to the other."""
        return bool(getattr(self._then, "wants_successes", type(self._then) is not LogObserver))

    def name_keys(self, key_ids: KeyIds) -> None:
        """Name master keys like this, unless the constructor was told otherwise."""
        self._labels.name_keys(key_ids)
        name_keys = getattr(self._then, "name_keys", None)
        if name_keys is not None:
            name_keys(key_ids)

    def watch_keyring(self, keyring: Watched) -> None:
        """Hand ``keyring`` on to the other observer, if it watches keyrings."""
        watch = getattr(self._then, "watch_keyring", None)
        if watch is not None:
            watch(keyring)

    def on_event(self, event: Event) -> None:
        """Make a span of a call that has just ended, and hand ``event`` on."""
        end = time.time_ns()
        self._then.on_event(event)
        described = self._describe(event)
        if described is None:
            return
        name, attributes = described
        if event.namespace:
            attributes["envelope_codec.namespace"] = self._labels.namespace(event.namespace)
        if event.outcome != "ok":
            attributes["error.type"] = event.outcome
        begun = end - round(event.seconds * 1e9)
        span = self._tracer.start_span(name, kind=self._kind, attributes=attributes, start_time=begun)
        if event.outcome != "ok":
            span.set_status(self._failed)
        span.end(end)

    def _describe(self, event: Event) -> tuple[str, dict[str, Any]] | None:
        operation = event.operation
        if operation in _KMS:
            attributes = {"rpc.system": event.provider, "rpc.service": "kms", "rpc.method": operation}
            return f"kms/{operation}", {**attributes, "envelope_codec.key.id": self._labels.key_id(event.key_id)}
        if operation in _STORE:
            name = self._labels.store(event.key_id)
            return f"{operation} {name}", {"db.operation.name": operation, "db.collection.name": name}
        if operation in _KEYSTORE and event.seconds > 0:  # else it was no call, but something found in an answer
            return f"{operation} keystore", {"db.operation.name": operation, "db.collection.name": "keystore"}
        return None
