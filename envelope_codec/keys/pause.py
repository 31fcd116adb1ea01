"""Pauses: any number of callers wait together until it is time to ask a KMS again, or need not be asked any more."""

from __future__ import annotations

from collections.abc import Hashable

from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, keyring_closed
from envelope_codec.keys.flight import Flight


class Pauses:
    """The pauses under way, by name.

    A pause is a flight that makes no call. So whatever ends another wait ends a pause too: a deadline, a cancellation,
    a worker's shutdown, and the end of the keyring.
    """

    def __init__(self, calls: KmsCalls) -> None:
        self._calls = calls
        self._flights: dict[Hashable, Flight[None]] = {}

    def join(self, name: Hashable, seconds: float, deadline: float, error: EnvelopeError | None = None) -> Flight[None]:
        """Join the pause of this name, or a new one of ``seconds``: return it, and call `Flight.wait` at once.

        Args:
            name: callers with the same name wait for the same end.
            seconds: how long a new pause lasts, if `end` does not come first.
            deadline: of the caller, in monotonic seconds.
            error: raised to those whose wait ends before the pause does.

        Raises:
            KmsUnavailable: the keyring has been closed, or no timer can be started.
        """
        with self._calls.lock:
            if self._calls.closed:
                raise keyring_closed()
            flight = self._flights.get(name)
            if flight is None:
                flight = Flight(lambda: None)
                self._schedule(name, flight, seconds)
                self._flights[name] = flight
            if error is not None:
                flight.last_error = error.fresh()
            return flight.join(deadline)

    def end(self, name: Hashable) -> None:
        """End the pause of this name now, if there is one."""
        with self._calls.lock:
            flight = self._flights.pop(name, None)
            if flight is not None and flight.timer is not None:
                flight.timer.cancel()
        if flight is not None:
            flight.finish(None)

    def close(self) -> None:
        """End all pauses. Those who wait get `KmsUnavailable`."""
        with self._calls.lock:
            flights, self._flights = self._flights, {}
        for flight in flights.values():
            if flight.timer is not None:
                flight.timer.cancel()
            flight.fail(keyring_closed())

    def _schedule(self, name: Hashable, flight: Flight[None], seconds: float) -> None:
        def over() -> None:
            if self._flights.get(name) is flight:
                self.end(name)

        try:
            flight.timer = self._calls.clock.call_later(seconds, over)
        except RuntimeError:
            raise KmsUnavailable("no timer could be started to wait for the KMS") from None
