"""Sockets are bound to every number of a host, and to no other."""

from __future__ import annotations

import socket

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.server.web.address import Address
from envelope_codec.server.web.listener import address_of, bind


def test_sockets_are_bound_where_they_should_be_and_to_nothing_that_is_taken() -> None:
    listeners = bind(Address.parse("localhost:0"))
    try:
        assert all(address_of(listener).is_loopback for listener in listeners)
        assert len({address_of(listener).port for listener in listeners}) == 1
        assert {listener.proto for listener in listeners} == {socket.IPPROTO_TCP}  # or Nagle's algorithm stays on
        listeners[0].listen()
        taken = address_of(listeners[0])
        with pytest.raises(ConfigurationError, match=r"server\.listen: can't listen on .*: Address already in use"):
            bind(taken)
        with pytest.raises(ConfigurationError, match=r"server\.listen: can't listen on no\.invalid:1: "):
            bind(Address.parse("no.invalid:1"))
    finally:
        for listener in listeners:
            listener.close()
