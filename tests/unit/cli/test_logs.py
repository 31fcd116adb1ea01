"""Logs, kept off the screen."""

from __future__ import annotations

import logging
import threading

import pytest

from envelope_codec.cli.logs import quiet_logs


def test_nothing_is_printed_and_the_last_words_of_a_provider_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_logs() as words:
        logging.getLogger("envelope_codec").warning("first")
        logging.getLogger("envelope_codec.vault").warning("the KMS said:\n  %s", "no")
        logging.getLogger("envelope_codec.vault").info("not of interest")
        logging.getLogger("somebody.else").error("loud")
        assert words.take() == "the KMS said: no"
        assert words.take() == "", "they are taken once"
    assert capfd.readouterr() == ("", "")


def test_a_store_logs_for_debugging_and_is_heard() -> None:
    level = logging.getLogger("envelope_codec.datastore").level
    with quiet_logs() as words:
        logging.getLogger("envelope_codec.datastore.sql").debug("the database said no")
        assert words.take() == "the database said no"
    assert logging.getLogger("envelope_codec.datastore").level == level


def test_each_thread_has_words_of_its_own() -> None:
    with quiet_logs() as words:
        logging.getLogger("envelope_codec").warning("of this thread")
        taken: list[str] = []
        thread = threading.Thread(target=lambda: taken.append(words.take()))
        thread.start()
        thread.join()
        assert taken == [""]
        assert words.take() == "of this thread"


def test_a_long_or_broken_message_does_no_harm() -> None:
    with quiet_logs() as words:
        logging.getLogger("envelope_codec").warning("x" * 10_000)
        assert len(words.take()) == 400
        logging.getLogger("envelope_codec").warning("%d", "no number")
        assert words.take() == ""
