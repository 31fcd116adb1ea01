"""What AWS KMS is, for the core and for the documentation. Imports no SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping

from envelope_codec.provider import BareKey, ProviderFacts
from envelope_codec_aws._hints import MEANINGS
from envelope_codec_aws._options import OPTIONS

_PERMISSIONS = {"wrap": "kms:Encrypt", "unwrap": "kms:Decrypt"}


def _details(operation: str, key_id: str) -> Mapping[str, str]:
    permission = _PERMISSIONS[operation]
    if operation == "unwrap" and ":alias/" in key_id:
        permission += " (and, for an alias, kms:DescribeKey without that condition)"
    return {"permission": permission}


def _keep_from_sharing(key_id: str, context: Mapping[str, str]) -> str:
    return json.dumps(
        {
            "Effect": "Deny",
            "Action": ["kms:Encrypt", "kms:ReEncryptTo"],
            "Resource": "*" if ":alias/" in key_id else key_id,
            "Condition": {"StringEquals": {"kms:EncryptionContext:envelope-codec:purpose": "shared-wrapping-key"}},
        }
    )


FACTS = ProviderFacts(
    scheme="awskms",
    title="AWS KMS",
    class_name="envelope_codec_aws.AwsKms",
    uri="awskms:///ARN?option=value",
    key_id="the key's ARN, also where an alias is configured",
    requirement="temporal-envelope-codec[aws]",
    options=OPTIONS,
    bare_key=BareKey("arn:", "awskms:///", "an AWS KMS ARN"),
    permissions=_PERMISSIONS,
    meanings=MEANINGS,
    details=_details,
    keep_from_sharing=_keep_from_sharing,
)
