"""One request for a verb: who asks, may they, what for, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import EnvelopeError
from envelope_codec.server.access import Grants
from envelope_codec.server.audit import Entry
from envelope_codec.server.bearer import caller_key
from envelope_codec.server.body import Body
from envelope_codec.server.cors import FAILED_HEADER
from envelope_codec.server.opener import Asking
from envelope_codec.server.outcome import Outcome, failures
from envelope_codec.server.payloads import parse_payloads, render_payloads
from envelope_codec.server.reference import is_marked, is_reference
from envelope_codec.server.refusal import BAD_REFERENCE, Refusal, failure_of, refusal_of
from envelope_codec.server.rule import Verb
from envelope_codec.server.service import Service
from envelope_codec.server.target import checked_namespace

T = TypeVar("T")

_WORTH_A_THREAD = 2**19  # bytes


class Exchange:
    """One request for a verb.

    Args:
        service: answers it.
        request: whose body nobody has read yet.
        verb: what is asked for.
        namespace: that its path names, or None.
        entry: takes note of everything.
    """

    def __init__(self, service: Service, request: Request, verb: Verb, namespace: str | None, entry: Entry) -> None:
        self._service = service
        self._request = request
        self._verb: Verb = verb
        self._namespace = namespace
        self._entry = entry

    async def answer(self) -> Response:
        """The answer. Raises `Refusal`, or `ClientDisconnect` if there is nobody to answer."""
        server = self._service.server
        body = Body(self._request, limit=server.body_limit, timeout=server.body_timeout)
        try:
            grants = await self._admitted()
            release = self._service.enter()
        except Refusal as refusal:
            if not await body.drain():
                refusal.headers["Connection"] = "close"
            raise
        try:
            data = await body.read()
            payloads = await _aside(len(data), parse_payloads, data, server.max_payloads)
            self._entry.payloads = len(payloads)
            outcomes = self._entry.outcomes = await self._outcomes(payloads, grants)
            return await self._reply(outcomes)
        finally:
            release()

    async def _admitted(self) -> Grants:
        """What the caller may do, once all is well that can be told without the body."""
        service, headers = self._service, self._request.headers
        origin = headers.get("origin")
        if origin is not None and not service.cors.allows(origin):
            raise Refusal(403, "origin_not_allowed", "Pages of this origin may not use the server.")
        principal = self._entry.principal = await service.tokens.principal(headers)
        service.limiter.count(caller_key(principal, self._entry.client))
        named = headers.getlist("x-namespace")
        if self._namespace is None and any(named):
            if len(named) > 1:
                raise Refusal(400, "bad_namespace", "The request names more than one namespace.")
            self._namespace = checked_namespace(named[0].encode("latin-1"))
        self._entry.namespace = self._namespace or ""
        grants = service.access.of(principal)
        if not grants.any(self._verb):
            raise Refusal(403, "not_allowed", f"You may not {self._verb} in any namespace.")
        if self._namespace is not None and not grants.may(self._verb, self._namespace):
            raise Refusal(403, "not_allowed", f"You may not {self._verb} in this namespace.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "wrong_type", "The body must be application/json.")
        if "content-encoding" in headers:
            raise Refusal(415, "wrong_type", "The body must not be compressed.")
        if self._verb == "download" and service.stores is None:
            raise Refusal(404, "no_storage", "This server follows no references to external storage.")
        return grants

    async def _outcomes(self, payloads: Sequence[Payload], grants: Grants) -> list[Outcome]:
        service = self._service
        keeps = self._request.query_params.get("preserveStorageRefs", "").lower() == "true"
        namespace = self._namespace or service.server.default_namespace
        if self._verb == "encode":
            if namespace is None:
                raise Refusal(400, "no_namespace", "Name the namespace to seal for, in the path or as X-Namespace.")
            if not grants.may("encode", namespace):
                raise Refusal(403, "not_allowed", "You may not encode in this namespace.")
            self._entry.namespace = namespace
            try:
                return await service.sealer.seal(payloads, namespace, keep_references=keeps)
            except EnvelopeError as error:
                raise refusal_of({failure_of(error): 1}) from None
        if self._verb == "download":
            if len(payloads) != 1:
                raise Refusal(400, "not_one_payload", "A download takes one payload.")
            if not (is_reference(payloads[0]) or is_marked(payloads[0])):
                raise refusal_of({BAD_REFERENCE: 1})
        asking = Asking(self._verb, grants, namespace, follow=self._verb == "download" or not keeps)
        return await service.opener.open(payloads, asking)

    async def _reply(self, outcomes: Sequence[Outcome]) -> Response:
        failed = failures(outcomes)
        count = sum(failed.values())
        if failed and (self._service.server.strict or count == len(outcomes)):
            raise refusal_of(failed)
        payloads = [outcome.payload for outcome in outcomes]
        size = sum(len(payload.data) for payload in payloads)
        rendered = await _aside(size, render_payloads, payloads)
        headers = {FAILED_HEADER: str(count)} if count else None
        return Response(rendered, 200, headers, "application/json")


async def _aside(size: int, work: Callable[..., T], *arguments: object) -> T:
    """What ``work`` returns; in a thread where it would keep others waiting."""
    return work(*arguments) if size < _WORTH_A_THREAD else await asyncio.to_thread(work, *arguments)
