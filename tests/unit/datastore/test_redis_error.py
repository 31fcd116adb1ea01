"""What Redis answers, and the errors that its answers become."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser

from envelope_codec.datastore.redis_error import translate
from envelope_codec.errors import StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        ("NOAUTH Authentication required.", REFUSED, "login"),
        ("WRONGPASS invalid username-password pair or user is disabled.", REFUSED, "login"),
        ("NOPERM User hush has no permissions to run the 'set' command", REFUSED, "permission"),
        ("OOM command not allowed when used memory > 'maxmemory'.", REFUSED, "out of memory"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", REFUSED, "another kind"),
        ("ERR DB index is out of range", REFUSED, "database of that number"),
        ("ERR unknown command 'SETRANGE'", REFUSED, "does not know a command"),
        ("MOVED 3999 127.0.0.1:6381", REFUSED, "Cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", REFUSED, "Cluster"),
        ("ERR hush", REFUSED, "its log"),
        ("READONLY You can't write against a read only replica.", OUTAGE, "replica"),
        ("LOADING Redis is loading the dataset in memory", OUTAGE, "starting"),
        ("ERR max number of clients reached", OUTAGE, "too many connections"),
        ("MISCONF Errors writing to the AOF file", OUTAGE, "disk"),
        ("NOREPLICAS Not enough good replicas to write.", OUTAGE, "replicas"),
        ("BUSY Redis is busy running a script.", OUTAGE, "busy"),
        ("MASTERDOWN Link with MASTER is down", OUTAGE, "did not answer"),
        ("CLUSTERDOWN The cluster is down", OUTAGE, "the cluster is down"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", OUTAGE, "did not answer"),
    ],
)
def test_each_reply(reply: str, kind: type[Exception], said: str) -> None:
    told = translate(BaseParser.parse_error(reply), "put")  # type: ignore[no-untyped-call]
    assert (type(told), told.operation) == (kind, "put")
    assert said in str(told)
    assert "hush" not in str(told)
