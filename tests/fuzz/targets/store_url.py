"""The URL of a store or of a keystore, of any scheme.

- It gives a store, or `ConfigurationError`, whose text can be printed.
- Nothing is asked of a network, and nothing is written.
- Neither the text nor a repr repeats a password.
- What `parse_store_url` leaves of a URL is a URL that it leaves as it is.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.keystore import parse_keystore_url
from envelope_codec.store import parse_store_url
from tests.fuzz.event_loop import run
from tests.fuzz.quiet_place import quiet_place
from tests.fuzz.target import Target
from tests.fuzz.watch import reading_only

PASSWORD = "hunter2-of-the-fuzzer"


def check(data: bytes) -> None:
    url = data.decode("utf-8", "surrogateescape")
    for parse in (_parse_store, parse_keystore_url):
        with quiet_place():
            _check(url, parse)


def _parse_store(url: str) -> Any:
    parsed = parse_store_url(url)
    again = parse_store_url(parsed.url)
    assert again.url == parsed.url
    assert again.scheme == parsed.scheme
    return parsed


def _check(url: str, parse: Any) -> None:
    secret = PASSWORD if f":{PASSWORD}@" in url else "\0"
    _import_all()
    made = _open(url, parse, secret)
    assert secret not in (made if isinstance(made, str) else repr(made)), "a password is shown"
    if not isinstance(made, str):
        run(made.close())


def _open(url: str, parse: Any, secret: str) -> Any:
    """Return the store, or the text of the error."""
    try:
        with reading_only():
            parsed = parse(url)
            assert secret not in repr(parsed)
            return parsed.open()
    except ConfigurationError as error:
        return str(error)


@lru_cache(maxsize=1)
def _import_all() -> None:
    """Have all SDKs imported, which may do more than read."""
    for text in _texts().values():
        for parse in (_parse_store, parse_keystore_url):
            with suppress(ConfigurationError):
                run(parse(text).open().close())


def seeds() -> dict[str, bytes]:
    return {name: text.encode() for name, text in _texts().items()}


def _texts() -> dict[str, str]:
    login = f"user:{PASSWORD}"
    return {
        "s3": "s3://bucket/prefix?region=us-east-1&endpoint=https://s3.example:9000&name=n",
        "gs": "gs://bucket/prefix?endpoint=http://127.0.0.1:1",
        "azblob": "azblob://account/container/prefix?endpoint=http://127.0.0.1:1/account",
        "dynamodb": "dynamodb://table?region=us-east-1",
        "file": "file:///tmp/payloads",
        "postgresql": f"postgresql://{login}@host:5432/db?name=n&table=t",
        "postgresql-driver": f"postgresql+psycopg://{login}@host/db?sslmode=require",
        "mysql": f"mysql://{login}@host:3306/db?charset=utf8mb4",
        "mariadb": f"mariadb+asyncmy://{login}@host/db",
        "sqlite": "sqlite:////tmp/payloads.db?table=t",
        "sqlite-memory": "sqlite://",
        "redis": f"redis://{login}@host:6379/0?prefix=p:",
        "redis-cluster": f"redis+cluster://{login}@a:1,b:2",
        "redis-sentinel": f"rediss+sentinel://{login}@a:1,b:2/service/1?sentinel_password={PASSWORD}",
        "mongodb": f"mongodb://{login}@a:27017,b/db?collection=c&replicaSet=r&tls=true",
        "mongodb-options": "mongodb://[::1]:27017/db?readPreference=nearest&w=majority",
        "unknown": "ftp://host/path",
    }


TARGET = Target(
    check,
    seeds,
    (
        *(b"s3://", b"gs://", b"azblob://", b"dynamodb://", b"file:///", b"postgresql://", b"sqlite:///", b"mysql://"),
        *(
            b"redis://",
            b"+cluster://",
            b"+sentinel://",
            b"mongodb://",
            b"mongodb+srv://",
            b"mariadb://",
            b"%2F",
            b"%00",
        ),
        *(b"&name=", b"&prefix=", b"&table=", b"&endpoint=", b"[::1]", b"#", b"?", f":{PASSWORD}@".encode()),
    ),
    longest=600,
    sectioned=False,
)
