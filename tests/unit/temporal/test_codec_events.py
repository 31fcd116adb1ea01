"""What a codec reports about its calls."""

from __future__ import annotations

import time

import pytest

from envelope_codec import EnvelopeError, Event, InvalidCiphertext
from envelope_codec.observe import LogObserver
from envelope_codec.temporal.codec_events import CodecEvents


class Keeping:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_success_is_one_event_of_the_namespace() -> None:
    observer = Keeping()
    events = CodecEvents(observer, "one")
    events.for_namespace("two").report_success("open", 3, time.perf_counter() - 1)
    [event] = observer.events
    assert event[:4] == ("open", "ok", "two", "")
    assert event.seconds >= 1
    assert (event.payloads, event.reason) == (3, "")


def test_an_error_of_ours_is_reported_and_loses_its_frames() -> None:
    observer = Keeping()
    error = raised(InvalidCiphertext("a flipped bit", operation="open", key_id="fakekms://1"))
    assert CodecEvents(observer, "n").prepare_failure("open", 2, 0.0, error) is error
    assert error.__traceback__ is None
    [event] = observer.events
    assert event[:4] == ("open", "InvalidCiphertext", "n", "fakekms://1")
    assert (event.payloads, event.reason) == (2, "a flipped bit")


def test_an_unexpected_error_becomes_one_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    observer = Keeping()
    failure = CodecEvents(observer, "n").prepare_failure("seal", 1, 0.0, raised(TypeError("in clear")))
    assert type(failure) is EnvelopeError
    assert str(failure) == "the codec failed unexpectedly"
    assert [event.outcome for event in observer.events] == ["EnvelopeError"]
    assert "TypeError" in caplog.text
    assert "in clear" not in caplog.text


def test_what_ends_a_task_or_the_process_is_no_event() -> None:
    observer = Keeping()
    error = raised(KeyboardInterrupt())
    assert CodecEvents(observer, "n").prepare_failure("seal", 1, 0.0, error) is error
    assert error.__traceback__ is None
    assert observer.events == []


def test_no_event_of_a_success_is_made_for_the_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Event] = []
    monkeypatch.setattr(LogObserver, "on_event", lambda self, event: seen.append(event))
    CodecEvents(LogObserver(), "n").report_success("seal", 1, 0.0)
    assert seen == []
    CodecEvents(LogObserver(), "n").prepare_failure("seal", 1, 0.0, InvalidCiphertext("x"))
    assert [event.outcome for event in seen] == ["InvalidCiphertext"]
