"""The server's description of itself, at ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from envelope_codec import __version__
from envelope_codec.server.auth.issuer import ID_TOKEN
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.payloads.protobuf_json import BASE64
from envelope_codec.server.web.cors import FAILED_HEADER, REQUEST_ID_HEADER
from envelope_codec.server.web.route import LONGEST_NAMESPACE

_BYTES = {"type": "string", "pattern": f"^{BASE64}$", "description": "Bytes, as base64."}
_SIZE = {
    "nullable": True,
    "oneOf": [{"type": "string", "pattern": r"^-?\d{1,19}$"}, {"type": "integer", "format": "int64"}],
}

# Namespaces. The server takes further printable characters, which not every client can send.
_IN_HEADER = r"[!-~]([ -~]*[!-~])?"
_IN_PATH = r"[!-\-0-~]([ -~]*[!-~])?"  # no dot and no slash at the start: clients resolve such paths

_SCHEMAS: dict[str, Any] = {
    "Payloads": {
        "description": "temporal.api.common.v1.Payloads, as protobuf-JSON.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "payloads": {"type": "array", "items": {"$ref": "#/components/schemas/Payload"}, "nullable": True}
        },
    },
    "Payload": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "metadata": {"type": "object", "additionalProperties": _BYTES, "nullable": True},
            "data": {**_BYTES, "nullable": True},
            "externalPayloads": {
                "type": "array",
                "nullable": True,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"sizeBytes": _SIZE},
                },
            },
        },
    },
    "Error": {
        "type": "object",
        "required": ["error", "message", "request_id"],
        "additionalProperties": False,
        "properties": {
            "error": {"type": "string", "description": "For programs.", "pattern": "^[a-z_]+$"},
            "message": {"type": "string", "description": "For people."},
            "request_id": {"type": "string"},
        },
    },
    "Readiness": {
        "type": "object",
        "required": ["status", "keys"],
        "properties": {
            "status": {"enum": ["ready", "not ready", "stopping"]},
            "keys": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
    },
}

_REFUSALS = {
    "400": "The body is no Payloads, or nothing in it can be opened, or no namespace to seal for is named.",
    "401": "There is no token, or none that is believed.",
    "403": "The caller, or the page's origin, may not.",
    "404": "There is nothing at this path; for a download, no storage is configured.",
    "405": "It takes another method.",
    "408": "The body took too long to arrive.",
    "413": "The body is too large, or has too many payloads.",
    "415": "The body is not application/json.",
    "424": "As 503, in answers to pages (requests with an Origin).",
    "429": "A budget of the caller is used up. Retry-After says when to come back.",
    "503": "A KMS, a store or an issuer's keys can't be reached, or the server is busy. Retry-After says until when.",
}

_VERBS = {
    "decode": "Open payloads. What is no envelope, or can't be opened, comes back as it was.",
    "encode": "Seal payloads for a namespace; all of them or none.",
    "download": "Fetch and open what one reference to external storage leads to.",
}


def describe_server(server: ServerConfig) -> dict[str, Any]:
    """Return the OpenAPI document of a server with these settings."""
    paths: dict[str, Any] = {}
    for verb, summary in _VERBS.items():
        in_path = {"name": "namespace", "in": "path", "required": True, "schema": _describe_namespace(_IN_PATH)}
        needed = verb == "encode" and server.default_namespace is None
        schema = _describe_namespace(_IN_HEADER if needed else f"({_IN_HEADER})?")
        in_header = {"name": "X-Namespace", "in": "header", "required": needed, "schema": schema}
        paths[f"{server.prefix}/{verb}"] = {"post": _describe_operation(verb, verb, summary, [in_header])}
        operation = _describe_operation(f"{verb}_in_namespace", verb, summary, [in_path])
        paths[f"{server.prefix}/{{namespace}}/{verb}"] = {"post": operation}
    paths[f"{server.prefix}/healthz"] = _describe_page("Whether the process is up.", {"type": "object"})
    ready = _describe_page("Whether payloads can be opened.", {"$ref": "#/components/schemas/Readiness"})
    ready["get"]["responses"]["503"] = ready["get"]["responses"]["200"]
    paths[f"{server.prefix}/readyz"] = ready
    paths[f"{server.prefix}/openapi.json"] = _describe_page("This description.", {"type": "object"})
    document: dict[str, Any] = {
        "openapi": "3.0.3",
        "info": {
            "title": "Codec server for Temporal",
            "version": __version__,
            "description": "Decodes for the Web UI and the command line of Temporal what workers sealed.",
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if server.wants_tokens:
        document["components"]["securitySchemes"] = schemes = _describe_tokens(server)
        for path in paths.values():
            if "post" in path:
                path["post"]["security"] = [{name: []} for name in schemes]
    return document


def _describe_tokens(server: ServerConfig) -> dict[str, Any]:
    believed = {issuer.believe for issuer in server.auth}
    schemes: dict[str, Any] = {}
    if server.token_files or "access-token" in believed:
        schemes["token"] = {"type": "http", "scheme": "bearer"}
    if ID_TOKEN in believed:
        schemes["id_token"] = {"type": "apiKey", "in": "header", "name": "Authorization-Extras"}
    return schemes


def _describe_operation(name: str, verb: str, summary: str, where: list[dict[str, Any]]) -> dict[str, Any]:
    keep = {
        "name": "preserveStorageRefs",
        "in": "query",
        "description": "true: leave references to external storage as they are. /decode still follows small ones.",
        "schema": {"type": "string"},
    }
    payloads = {"application/json": {"schema": {"$ref": "#/components/schemas/Payloads"}}}
    success: dict[str, Any] = {"description": "As many payloads as came, in their order.", "content": payloads}
    success["headers"] = {
        FAILED_HEADER: {
            "description": "How many payloads came back as they were, since they could not be opened.",
            "schema": {"type": "string", "pattern": r"^\d+$"},
        },
        REQUEST_ID_HEADER: {"description": "As in the audit trail.", "schema": {"type": "string"}},
    }
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {status: {"description": text, "content": refusal} for status, text in _REFUSALS.items()}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*where, *([] if verb == "download" else [keep])],
        "requestBody": {"required": True, "content": payloads},
        "responses": {"200": success, **refusals},
    }


def _describe_page(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"get": {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}}


def _describe_namespace(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$", "maxLength": LONGEST_NAMESPACE}
