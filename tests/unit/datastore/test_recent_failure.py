"""A failure that is remembered for a while."""

from __future__ import annotations

from envelope_codec.datastore.recent_failure import RecentFailure


def test_it_is_tried_again_after_a_second_then_later_up_to_a_minute() -> None:
    now = 100.0
    failure = RecentFailure[ValueError](lambda: now, lambda: 0.0)
    assert failure.error is None
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        failure.remember(ValueError("no"))
        now += pause - 0.01
        assert str(failure.error) == "no"
        now += 0.01
        assert failure.error is None
    failure.forget()
    failure.remember(ValueError("again"))
    now += 1
    assert failure.error is None


def test_it_holds_no_frame_and_no_cause() -> None:
    failure = RecentFailure[ValueError]()
    try:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ValueError("no") from error
    except ValueError as error:
        failure.remember(error)
    kept = failure.error
    assert kept is not None
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
