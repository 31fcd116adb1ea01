"""Errors that come up while botocore signs a request, told from those of the service that is called.

This is for a client that somebody else built. The clients built here have `WatchedCredentials`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from envelope_codec.aws.credentials_error import CredentialsUnavailable


class _Signing(threading.local):
    under_way = False


_signing = _Signing()


def watch_signing(client: Any) -> None:
    """Let `separate_signing` know when ``client``, which somebody else built, signs a request."""
    service = client.meta.service_model.service_id.hyphenize()
    for event, handler in ((f"before-sign.{service}", _begin_signing), (f"before-send.{service}", _end_signing)):
        client.meta.events.register(event, handler, unique_id=f"envelope-codec-{event}")


@contextmanager
def separate_signing() -> Iterator[None]:
    """In the block, raise whatever comes up while a request is signed as `CredentialsUnavailable`."""
    _signing.under_way = False
    try:
        yield
    except Exception as error:
        if not _signing.under_way:
            raise
        failure = CredentialsUnavailable.of(error)
    else:
        return
    finally:
        _signing.under_way = False
    raise failure


def _begin_signing(**_: object) -> None:
    _signing.under_way = True


def _end_signing(**_: object) -> None:
    _signing.under_way = False
