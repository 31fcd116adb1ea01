"""One request for a verb: who asks, may they, what for, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import EnvelopeError
from envelope_codec.server.audit import Entry
from envelope_codec.server.auth.access import Grants
from envelope_codec.server.auth.bearer import caller_key
from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.payloads.message import parse_payloads, render_payloads, tree_bytes
from envelope_codec.server.payloads.opener import Asking
from envelope_codec.server.payloads.outcome import Outcome, failures
from envelope_codec.server.payloads.reference import is_marked, is_reference
from envelope_codec.server.service import Service
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.body import Body
from envelope_codec.server.web.cors import FAILED_HEADER
from envelope_codec.server.web.gate import Entrance
from envelope_codec.server.web.refusal import BAD_REFERENCE, Refusal, failure_of, refusal_of
from envelope_codec.server.web.target import checked_namespace

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
        entrance: by which it came in, while nobody was known to make it.
        held: gives back, once the answer is sent, what the request takes.
    """

    def __init__(
        self,
        service: Service,
        request: Request,
        verb: Verb,
        namespace: str | None,
        entry: Entry,
        entrance: Entrance,
        held: ExitStack,
    ) -> None:
        self._service = service
        self._request = request
        self._verb: Verb = verb
        self._namespace = namespace
        self._entry = entry
        self._entrance = entrance
        self._held = held

    async def answer(self) -> Response:
        """The answer. Raises `Refusal`, or `ClientDisconnect` if there is nobody to answer."""
        server = self._service.server
        body = Body(self._request, limit=server.body_limit, timeout=server.body_timeout)
        try:
            visit, grants = await self._admitted()
        except Refusal as refusal:
            if not await body.drain():
                refusal.headers["Connection"] = "close"
            raise
        with self._service.under_way():
            data = await self._read(body, visit)
            with visit.slot():
                return await self._answered(data, visit, grants)

    async def _read(self, body: Body, visit: Visit) -> list[bytearray]:
        """The body, in a list that whoever is done with it empties."""
        try:
            data = await body.read(visit.take_bytes)
            visit.take_bytes(tree_bytes(data))
        except Refusal as refusal:
            if refusal.status in (429, 503) and not await body.drain():
                refusal.headers["Connection"] = "close"
            raise
        return [data]

    async def _answered(self, data: list[bytearray], visit: Visit, grants: Grants) -> Response:
        size = len(data[0])
        payloads = await _aside(size, lambda: parse_payloads(data.pop(), self._service.server.max_payloads))
        self._entry.payloads = len(payloads)
        outcomes = self._entry.outcomes = await self._outcomes(payloads, grants, visit)
        return await self._reply(outcomes)

    async def _admitted(self) -> tuple[Visit, Grants]:
        """What the caller holds and may do, once all is well that can be told without the body."""
        service, headers = self._service, self._request.headers
        origin = headers.get("origin")
        if origin is not None and not service.cors.allows(origin):
            raise Refusal(403, "origin_not_allowed", "Pages of this origin may not use the server.")
        principal = self._entry.principal = await service.tokens.principal(headers)
        self._entrance.believed(principal)
        visit = service.admission.visit(caller_key(principal, self._entry.client))
        self._held.callback(visit.leave)
        self._entrance.admitted(principal)
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
        return visit, grants

    async def _outcomes(self, payloads: Sequence[Payload], grants: Grants, visit: Visit) -> list[Outcome]:
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
                return await service.sealer.seal(payloads, namespace, visit.caller, keep_references=keeps)
            except EnvelopeError as error:
                raise refusal_of({failure_of(error): 1}) from None
        if self._verb == "download":
            if len(payloads) != 1:
                raise Refusal(400, "not_one_payload", "A download takes one payload.")
            if not (is_reference(payloads[0]) or is_marked(payloads[0])):
                raise refusal_of({BAD_REFERENCE: 1})
        asking = Asking(self._verb, grants, namespace, visit, follow=self._verb == "download" or not keeps)
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
