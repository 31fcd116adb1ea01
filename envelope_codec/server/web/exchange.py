"""One request for a verb: authentication, permission, body, and answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from temporalio.api.common.v1 import Payload

from envelope_codec.errors import EnvelopeError
from envelope_codec.server.audit import Entry
from envelope_codec.server.auth.access import Grants
from envelope_codec.server.auth.principal import Principal, caller_key
from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.payloads.outcome import Outcome, count_failures
from envelope_codec.server.payloads.protobuf_json import (
    count_entry_bytes,
    count_tree_bytes,
    parse_payloads,
    render_payloads,
)
from envelope_codec.server.payloads.read_request import ReadRequest
from envelope_codec.server.service import Service
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.body import Body
from envelope_codec.server.web.cors import FAILED_HEADER
from envelope_codec.server.web.gate import Entrance
from envelope_codec.server.web.refusal import BAD_REFERENCE, Refusal, failure_of, refusal_of
from envelope_codec.server.web.route import parse_namespace
from envelope_codec.storage.reference import refers_to_storage

T = TypeVar("T")

_WORTH_A_THREAD = 2**19  # bytes; less is done faster than a thread could be given it


class Exchange:
    """One request for a verb.

    Args:
        service: everything that requests share.
        request: nobody has read its body yet.
        verb: the one that its path names.
        namespace: the one that its path names, or None.
        entry: its audit entry, which is filled in here.
        entrance: by which it passed the gate.
        held: gives back, once the answer is sent, what the request takes of budgets.
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
        """Return the answer. Raises `Refusal`, or `ClientDisconnect` if there is nobody to answer."""
        server = self._service.server
        body = Body(self._request, limit=server.body_limit, timeout=server.body_timeout)
        try:
            visit, grants = await self._admit()
        except Refusal as refusal:
            if not await body.drain():
                refusal.headers["Connection"] = "close"
            raise
        with self._service.metrics.count_under_way():
            data = await self._read(body, visit)
            with visit.slot():
                return await self._process(data, visit, grants)

    async def _read(self, body: Body, visit: Visit) -> list[bytearray]:
        """Return the body, in a list. Its user takes it out, so that its memory is free as early as possible."""
        try:
            data = await body.read(visit.take_bytes)
            visit.take_bytes(count_tree_bytes(data))
        except Refusal as refusal:
            if refusal.status in (429, 503) and not await body.drain():
                refusal.headers["Connection"] = "close"
            raise
        return [data]

    async def _process(self, data: list[bytearray], visit: Visit, grants: Grants) -> Response:
        size = len(data[0])
        payloads = await _run_aside(size, lambda: parse_payloads(data.pop(), self._service.server.max_payloads))
        self._entry.payloads = len(payloads)
        outcomes = self._entry.outcomes = await self._handle(payloads, grants, visit)
        return await self._reply(outcomes)

    async def _admit(self) -> tuple[Visit, Grants]:
        """Make all checks that need no body. Return what the caller holds, and what it may do."""
        headers = self._request.headers
        origin = headers.get("origin")
        if origin is not None and not self._service.cors.allows(origin):
            raise Refusal(403, "origin_not_allowed", "Pages of this origin may not use the server.")
        principal = self._entry.principal = await self._service.authenticator.authenticate(headers)
        self._entrance.uncount()
        visit = self._service.admission.visit(caller_key(principal, self._entry.client))
        self._held.callback(visit.leave)
        self._entrance.remember(principal)
        self._read_namespace(headers)
        grants = self._check_grants(principal)
        self._check_content(headers)
        if self._verb == "download" and self._service.stores is None:
            raise Refusal(404, "no_storage", "This server follows no references to external storage.")
        return visit, grants

    def _read_namespace(self, headers: Headers) -> None:
        """Take the namespace from the header, if the path names none."""
        named = headers.getlist("x-namespace")
        if self._namespace is None and any(named):
            if len(named) > 1:
                raise Refusal(400, "bad_namespace", "The request names more than one namespace.")
            self._namespace = parse_namespace(named[0].encode("latin-1"))
        self._entry.namespace = self._namespace or ""

    def _check_grants(self, principal: Principal) -> Grants:
        """Return what the caller may do, if that includes the verb in the namespace."""
        grants = self._service.access.grants_of(principal)
        if not grants.any(self._verb):
            raise Refusal(403, "not_allowed", f"You may not {self._verb} in any namespace.")
        if self._namespace is not None and not grants.may(self._verb, self._namespace):
            raise Refusal(403, "not_allowed", f"You may not {self._verb} in this namespace.")
        return grants

    def _check_content(self, headers: Headers) -> None:
        """Check that the body is to be JSON."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "wrong_type", "The body must be application/json.")
        if "content-encoding" in headers:
            raise Refusal(415, "wrong_type", "The body must not be compressed.")

    async def _handle(self, payloads: Sequence[Payload], grants: Grants, visit: Visit) -> list[Outcome]:
        """Do to ``payloads`` what is asked for. Return what became of them."""
        keeps_references = self._request.query_params.get("preserveStorageRefs", "").lower() == "true"
        namespace = self._namespace or self._service.server.default_namespace
        if self._verb == "encode":
            return await self._seal(payloads, namespace, grants, visit, keeps_references)
        if self._verb == "download":
            if len(payloads) != 1:
                raise Refusal(400, "not_one_payload", "A download takes one payload.")
            if not refers_to_storage(payloads[0]):
                raise refusal_of({BAD_REFERENCE: 1})
        inline_below = self._service.server.inline_below if keeps_references and self._verb == "decode" else None
        follow = inline_below != 0
        request = ReadRequest(self._verb, grants, namespace, visit, follow, inline_below)
        return await self._service.opener.open(payloads, request)

    async def _seal(
        self, payloads: Sequence[Payload], namespace: str | None, grants: Grants, visit: Visit, keeps_references: bool
    ) -> list[Outcome]:
        if namespace is None:
            raise Refusal(400, "no_namespace", "Name the namespace to seal for, in the path or as X-Namespace.")
        if not grants.may("encode", namespace):
            raise Refusal(403, "not_allowed", "You may not encode in this namespace.")
        self._entry.namespace = namespace
        try:
            return await self._service.sealer.seal(payloads, namespace, visit.caller, keep_references=keeps_references)
        except EnvelopeError as error:
            raise refusal_of({failure_of(error): 1}) from None

    async def _reply(self, outcomes: Sequence[Outcome]) -> Response:
        failed = count_failures(outcomes)
        count = sum(failed.values())
        if failed and (self._service.server.strict or count == len(outcomes)):
            raise refusal_of(failed)
        payloads = [outcome.payload for outcome in outcomes]
        size = sum(len(payload.data) + count_entry_bytes(payload) for payload in payloads)
        rendered = await _run_aside(size, render_payloads, payloads)
        headers = {FAILED_HEADER: str(count)} if count else None
        return Response(rendered, 200, headers, "application/json")


async def _run_aside(size: int, work: Callable[..., T], *arguments: object) -> T:
    """Return what ``work`` returns. Where it would keep others waiting, run it in a thread."""
    return work(*arguments) if size < _WORTH_A_THREAD else await asyncio.to_thread(work, *arguments)
