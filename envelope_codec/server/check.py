"""A check of the server's settings without serving: its files, addresses, master keys, and issuers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.audit import Audit
from envelope_codec.server.auth.authenticator import Authenticator
from envelope_codec.server.auth.json_fetch import redact_url
from envelope_codec.server.auth.token_file import TokenFile
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.payloads.stores import load_storage
from envelope_codec.server.readiness import Readiness
from envelope_codec.server.run import log_to_stderr
from envelope_codec.server.service import Service
from envelope_codec.server.web.address import Address
from envelope_codec.server.web.certificate import check_certificate
from envelope_codec.server.web.listener import IN_USE, bind


def check(config: EnvelopeConfig, server: ServerConfig) -> tuple[list[str], bool]:
    """Return lines that say what was found, and whether all is well.

    All that keeps the server from starting is told at once. An address that is in use is no fault: the server may be
    running.
    """
    log_to_stderr()
    lines: list[str] = []
    wrong: list[str] = []
    for part in _parts(server):
        try:
            lines += part()
        except ConfigurationError as error:
            wrong.append(str(error))
    try:
        service = Service(config, server)
    except ConfigurationError as error:
        wrong.append(str(error))  # perhaps one that was found above
        return [
            *lines,
            *dict.fromkeys(wrong),
            "master keys and issuers: not asked, since the server would not start",
        ], False
    try:
        keys, issuers = asyncio.run(_ask(service))
    finally:
        service.stop()
    lines += [*_describe_keys(keys), *_describe_issuers(server, issuers)]
    return [*lines, *wrong], keys.ready and not issuers and not wrong


def _parts(server: ServerConfig) -> Iterator[Callable[[], list[str]]]:
    """Yield what tries one part of the settings each. It returns lines, or raises `ConfigurationError`."""
    for address in server.addresses:
        yield lambda address=address: _try_address(address)  # type: ignore[misc]
    if server.tls_cert is not None:
        yield lambda: _run(lambda: check_certificate(server.tls_cert or "", server.tls_key or ""))
    yield lambda: _run(lambda: Audit(server.audit_file).close())
    for issuer in server.auth:
        yield lambda issuer=issuer: _run(Authenticator([issuer]).close)  # type: ignore[misc]
    for path in server.token_files:
        yield lambda path=path: _try_tokens(path)  # type: ignore[misc]
    if server.storage is not None:
        yield lambda: _run(lambda: load_storage(server.storage or ""))


def _run(work: Callable[[], object]) -> list[str]:
    work()
    return []


def _try_address(address: Address) -> list[str]:
    try:
        for listener in bind(address):
            listener.close()
    except ConfigurationError as error:
        if error.code != IN_USE:
            raise
        return [f"listen: {address} is in use; by this server, if it runs"]
    return []


def _try_tokens(path: str) -> list[str]:
    tokens = TokenFile(path).tokens()
    ended = sum(token.until is not None and token.until <= time.time() for token in tokens)
    return [f"token file {path}: {len(tokens)} tokens{f', {ended} of which have ended' if ended else ''}"]


async def _ask(service: Service) -> tuple[Readiness, dict[str, str]]:
    return await asyncio.gather(service.probes.check(), service.authenticator.check())


def _describe_keys(found: Readiness) -> Iterator[str]:
    if found.failed:
        yield f"master keys: {found.failed} of {sum(found)} do not work; `envelope-codec doctor` says why"
        return
    yield f"master keys: {found.proved} unwrap what they wrapped"
    if found.unproved:
        yield f"master keys: with {found.unproved} this role may not wrap, so that nothing could be tried"


def _describe_issuers(server: ServerConfig, failed: dict[str, str]) -> Iterator[str]:
    for issuer in server.auth:
        problem = failed.get(issuer.issuer)
        asked = issuer.introspection_url is not None
        if problem is None:
            yield f"issuer {issuer.issuer}: {'it tells whose a token is' if asked else 'its keys are known'}"
        else:
            where = redact_url(issuer.introspection_url or issuer.jwks_url or "")
            what = "does not tell whose a token is" if asked else "gives no keys"
            yield f"issuer {issuer.issuer}: {where} {what}, so nobody with its tokens is let in: {problem}"
