"""Master keys are used by many threads, and closed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET, check_error
from envelope_codec.testing.conformance._harness import Harness


class Closing:
    """Master keys are used by many threads, and closed."""

    def test_sixteen_threads_at_once(self, key: MasterKey) -> None:
        start = threading.Barrier(16)
        wrong: list[object] = []

        def use(number: int) -> None:
            secret, context = bytes([number]) * 32, {**CONTEXT, "thread": str(number)}
            start.wait()
            try:
                for _ in range(5):
                    wrapped = key.wrap(secret, context)
                    if key.unwrap(wrapped, context).secret != secret:
                        wrong.append(number)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_close_may_be_called_twice_and_use_after_it_ends(self, harness: Harness, uri: str) -> None:
        """It works or it fails by the library's own errors; it neither hangs nor raises anything else."""
        key = harness.open(uri)
        wrapped = key.wrap(SECRET, CONTEXT)
        key.close()
        key.close()
        calls: dict[str, Callable[[], object]] = {
            "unwrap": lambda: key.unwrap(wrapped, CONTEXT),
            "wrap": lambda: key.wrap(SECRET, CONTEXT),
        }
        for operation, call in calls.items():
            try:
                call()
            except EnvelopeError as error:
                check_error(error, operation, (uri, key.key_id))
        key.close()

    def test_an_unused_key_can_be_closed(self, harness: Harness, uri: str) -> None:
        key = harness.open(uri)
        key.close()
        key.close()

    def test_closing_one_object_leaves_another_for_the_same_key_alone(
        self, harness: Harness, uri: str, key: MasterKey
    ) -> None:
        other = harness.open(uri)
        other.wrap(SECRET, CONTEXT)
        other.close()
        assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET

    def test_repr_shows_neither_endpoint_nor_credentials(self, harness: Harness, key: MasterKey) -> None:
        key.wrap(SECRET, CONTEXT)
        assert "127.0.0.1" not in repr(key)
        assert repr(SECRET) not in repr(key)
