"""Rules for a bucket: whose it is, and how what is put there is encrypted. They hold for each request of a client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

OPTIONS = frozenset(("sse", "sse_key", "bucket_owner"))
"""Names of the options that make rules."""

_BY_KMS = ("aws:kms", "aws:kms:dsse")
_KINDS = ("AES256", *_BY_KMS)
_ACCOUNT = re.compile(r"[0-9]{12}")
# A key id, an alias, or the ARN of either.
_KEY = re.compile(
    r"(?:arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:)?(?:key/|alias/)[a-zA-Z0-9/_-]{1,250}|mrk-[0-9a-f]{32}|[0-9a-f-]{36}"
)


@dataclass(frozen=True)
class BucketRules:
    """Rules for a bucket.

    Attributes:
        owner: account that the bucket must belong to, 12 digits; None for any.
        sse: how the server encrypts what is put: ``AES256``, ``aws:kms``, ``aws:kms:dsse``; None as the bucket says.
        sse_key: the KMS key that it encrypts with; None for AWS's own.
    """

    owner: str | None = None
    sse: str | None = None
    sse_key: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, str], setting: str) -> BucketRules:
        """Return the rules that the options of a URL mean, which may have others.

        Raises:
            ConfigurationError: an option is wrong. ``setting`` is where the URL was given.
        """
        rules = cls(options.get("bucket_owner"), options.get("sse"), options.get("sse_key"))
        if rules.owner is not None and not _ACCOUNT.fullmatch(rules.owner):
            raise ConfigurationError(
                f"{setting}: option bucket_owner={show_value(rules.owner)} must be an AWS account, 12 digits"
            )
        if rules.sse is not None and rules.sse not in _KINDS:
            raise ConfigurationError(
                f"{setting}: option sse={show_value(rules.sse)} must be one of {', '.join(_KINDS)}"
            )
        if rules.sse_key is not None and not rules.uses_kms:
            raise ConfigurationError(f"{setting}: option sse_key needs sse=aws:kms, or sse=aws:kms:dsse")
        if rules.sse_key is not None and not _KEY.fullmatch(rules.sse_key):
            shown = show_value(rules.sse_key)
            raise ConfigurationError(f"{setting}: option sse_key={shown} must be a KMS key's ARN, id or alias")
        return rules

    @property
    def uses_kms(self) -> bool:
        """Whether what is put is encrypted with a key of AWS KMS."""
        return self.sse in _BY_KMS

    @property
    def key_resource(self) -> str:
        """The resource of the KMS key in a policy; to be filled in where the rules do not tell it."""
        key = self.sse_key or ""
        return key if key.startswith("arn:") and ":key/" in key else "arn:aws:kms:REGION:ACCOUNT:key/ID"

    def apply_to(self, client: Any) -> None:
        """Have each request of ``client``, an S3 client of boto3, keep the rules."""
        if self != BucketRules():
            client.meta.events.register("provide-client-params.s3", self._complete)

    def _complete(self, params: Mapping[str, Any], model: Any, **_: object) -> dict[str, Any]:
        added = {"ExpectedBucketOwner": self.owner}
        if model.name == "PutObject":
            added |= {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.sse_key}
        known = model.input_shape.members
        return {**params, **{name: value for name, value in added.items() if value is not None and name in known}}
