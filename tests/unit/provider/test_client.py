"""One client for each process, closed for good, and never shared with a forked child."""

from __future__ import annotations

import threading

import pytest

from envelope_codec.provider import Failed, ProcessClient
from tests.support.forked_child import in_child


class Client:
    """What an SDK gives."""

    def __init__(self) -> None:
        self.closed = 0
        self.reconnected = 0

    def close(self) -> None:
        self.closed += 1

    def reconnect(self) -> None:
        self.reconnected += 1


def made() -> tuple[ProcessClient[Client], list[Client]]:
    clients: list[Client] = []

    def build() -> Client:
        clients.append(Client())
        return clients[-1]

    return ProcessClient(build, close=Client.close), clients


def test_it_is_built_at_its_first_use_and_once() -> None:
    process, clients = made()
    assert process.made is None
    assert process.get() is process.get() is process.made
    assert len(clients) == 1


def test_a_client_that_can_not_be_built_is_built_at_the_next_use() -> None:
    tries: list[int] = []

    def build() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no configuration")
        return 7

    process = ProcessClient(build, close=lambda _: None)
    with pytest.raises(OSError, match="no configuration"):
        process.get()
    assert process.get() == 7


def test_close_is_final_and_closes_once() -> None:
    process, clients = made()
    process.get()
    process.close()
    process.close()
    assert clients[0].closed == 1
    assert process.is_closed
    with pytest.raises(Failed, match="closed"):
        process.get()
    with pytest.raises(Failed, match="closed"), process.in_use():
        pass


def test_close_before_the_first_use_builds_none() -> None:
    process, clients = made()
    process.close()
    with pytest.raises(Failed, match="closed"):
        process.get()
    assert clients == []


def test_close_does_not_wait_for_a_client_that_is_being_built_and_it_is_not_kept() -> None:
    building, go = threading.Event(), threading.Event()
    clients: list[Client] = []

    def build() -> Client:
        building.set()
        assert go.wait(60)
        clients.append(Client())
        return clients[-1]

    process = ProcessClient(build, close=Client.close)
    failures: list[BaseException] = []

    def use() -> None:
        try:
            process.get()
        except Failed as failed:
            failures.append(failed)

    caller = threading.Thread(target=use)
    caller.start()
    assert building.wait(60)
    process.close()
    go.set()
    caller.join()
    assert len(failures) == 1
    assert [client.closed for client in clients] == [1]
    assert process.made is None


def test_a_call_under_way_at_close_has_its_client_closed_once_more_when_it_ends() -> None:
    process, clients = made()
    with process.in_use() as client:
        process.close()
        assert client.closed == 1
    assert clients[0].closed == 2


def test_threads_that_come_together_get_one_client() -> None:
    process, clients = made()
    start = threading.Barrier(8)
    got: list[Client] = []

    def use() -> None:
        start.wait()
        got.append(process.get())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 1
    assert set(map(id, got)) == {id(clients[0])}


def test_a_forked_child_builds_its_own_and_leaves_the_parents_alone() -> None:
    process, clients = made()
    parents = process.get()

    def child() -> None:
        assert process.made is None
        assert process.get() is not parents
        process.close()
        assert (parents.closed, clients[-1].closed) == (0, 1)

    in_child(child)
    assert process.get() is parents


def test_what_was_closed_before_the_fork_is_closed_in_the_child() -> None:
    process, _ = made()
    process.close()

    def child() -> None:
        with pytest.raises(Failed):
            process.get()

    in_child(child)


def test_a_client_that_is_given_is_left_open_and_has_other_connections_in_a_child() -> None:
    client = Client()
    process = ProcessClient.given(client, reconnect=Client.reconnect)
    assert process.get() is client

    def child() -> None:
        assert process.get() is client
        assert process.get() is client
        assert client.reconnected == 1

    in_child(child)
    assert client.reconnected == 0
    process.close()
    assert client.closed == 0
    with pytest.raises(Failed):
        process.get()


def test_a_client_that_was_given_and_not_yet_used_here_has_other_connections_in_a_child_as_well() -> None:
    """Whoever gave it may have used it."""
    client = Client()
    process = ProcessClient.given(client, reconnect=Client.reconnect)

    def child() -> None:
        assert process.get() is client
        assert client.reconnected == 1

    in_child(child)
    assert process.get() is client
    assert client.reconnected == 0
