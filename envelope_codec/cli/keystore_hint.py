"""What to do about an error of a keystore, by the kind of keystore and by the error's reason, which is fixed text."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.aws.meanings import CREDENTIALS, LOG_IN
from envelope_codec.cli.store_hint import STORE_HINTS, general_hint
from envelope_codec.errors import EnvelopeError
from envelope_codec.keystore_role import Role

_DYNAMODB = {
    "the table does not exist in this region and account": "make the table: envelope-codec keystore ddl prints the "
    "command; or correct its name, ?region= or ?profile= in the URL",
    "permission on the table is missing": "allow {permission} on the table, in the role's policy and in the table's, "
    "and the use of the KMS key if the table is encrypted with one",
    "the table has another key than the ddl command prints, or its name is not valid": "make a table as "
    "envelope-codec keystore ddl prints it, and name it in the URL",
    "the table is full: a local index bounds it": "remove the local secondary index from the table: make a table as "
    "envelope-codec keystore ddl prints it",
    "its server does not do what was asked for": "this server speaks only a part of DynamoDB: look at its log and its "
    "version; a proxy before it may answer in its place",
    "the table is being made, changed or deleted": "wait until the table is ACTIVE: aws dynamodb describe-table",
    "the table did not answer": "check the region, the option endpoint, the network from here to DynamoDB (DNS, "
    "firewall, proxy)",
    "DynamoDB did not take the credentials: expired, unknown or wrongly signed": LOG_IN + "; check AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or the profile that the URL names",
    "the table, or the account, takes no more requests for now": "raise the table's capacity, or bill it by request; "
    "give commands a lower rate",
    "DynamoDB refused, and the log has its code": "look up the code that DynamoDB gives, and check the options of the "
    "URL",
    "the table's name is not valid": "correct the table's name in the URL",
    "what is there under the id is of another kind": "give rows a table of their own: envelope-codec keystore ddl "
    "prints the command",
    **{meaning.text: meaning.hint for meaning in CREDENTIALS},
}

KEYSTORE_HINTS: Mapping[str, Mapping[str, str]] = {**STORE_HINTS, "dynamodb": _DYNAMODB}
"""By scheme and reason."""

_SQL = ("SELECT", "SELECT and INSERT", "SELECT, INSERT and UPDATE", "SELECT", "SELECT, INSERT and UPDATE")
_REDIS_WRITES = "HMGET, HSTRLEN, EVAL, HGET and HSET"
_REDIS_READS = "HMGET and HSTRLEN"
_REDIS_LISTS = "HMGET, HSTRLEN and SCAN"
_REDIS = (_REDIS_READS, _REDIS_WRITES, _REDIS_WRITES, _REDIS_LISTS, f"SCAN, {_REDIS_WRITES}")
_FILE = ("read", "read and write", "read and write", "read", "read and write")
_PERMISSIONS = {
    # for each Role
    "s3": (
        "s3:GetObject and s3:ListBucket",
        "s3:GetObject, s3:PutObject and s3:ListBucket",
        "s3:GetObject, s3:PutObject and s3:ListBucket",
        "s3:GetObject and s3:ListBucket",
        "s3:GetObject, s3:PutObject and s3:ListBucket",
    ),
    **dict.fromkeys(("postgresql", "sqlite", "mysql", "mariadb"), _SQL),
    **dict.fromkeys(("redis", "rediss"), _REDIS),
    "mongodb": ("find", "find and insert", "find, insert and update", "find", "find, insert and update"),
    "dynamodb": (
        "dynamodb:GetItem",
        "dynamodb:GetItem and dynamodb:PutItem",
        "dynamodb:GetItem and dynamodb:PutItem",
        "dynamodb:GetItem and dynamodb:Query",
        "dynamodb:GetItem, dynamodb:PutItem and dynamodb:Query",
    ),
    "file": _FILE,
}


def keystore_hint(scheme: str, error: EnvelopeError, role: Role) -> str:
    """Say what to do about ``error``.

    A hint on a store that says what only a store has is none for a keystore.

    Args:
        scheme: the scheme of the keystore's URL, up to a ``+``.
        error: what the keystore raised.
        role: what it was to be used for.
    """
    text = KEYSTORE_HINTS.get(scheme, {}).get(error.reason, "")
    text = text.replace("envelope-codec storage ddl", "envelope-codec keystore ddl").replace("payloads", "rows")
    if not text or "storage gc" in text or "former_storage" in text:
        text = general_hint(error)
    fix = text.format(permission=_PERMISSIONS.get(scheme, _FILE)[list(Role).index(role)])
    if role is Role.seal and "{permission}" in text:
        fix += "; if this role only opens, set sealing = false"
    return fix
