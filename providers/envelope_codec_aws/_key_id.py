"""ARNs of AWS KMS keys and aliases."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

# How the regions of each partition begin (botocore's partitions.json). Every other region belongs to "aws".
_REGION_PREFIXES = {
    "aws-cn": "cn-",
    "aws-us-gov": "us-gov-",
    "aws-iso": "us-iso-",
    "aws-iso-b": "us-isob-",
    "aws-iso-e": "eu-isoe-",
    "aws-iso-f": "us-isof-",
    "aws-eusc": "eusc-",
}
_PARTITIONS = ("aws", *_REGION_PREFIXES)

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MULTI_REGION_ID = re.compile(r"mrk-[0-9a-f]{32}")
# CreateAlias: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html
_ALIAS_NAME = re.compile(r"[a-zA-Z0-9/_-]{1,250}")

_FORM = "arn:PARTITION:kms:REGION:ACCOUNT:key/KEY-ID or arn:PARTITION:kms:REGION:ACCOUNT:alias/NAME"


@dataclass(frozen=True)
class KeyArn:
    """ARN of a KMS key (``resource`` is ``key``) or of an alias (``alias``), in AWS's own spelling and no other."""

    partition: str
    region: str
    account: str
    resource: str
    name: str

    @classmethod
    def parse(cls, text: str) -> KeyArn:
        """Parse an ARN. Raises `ConfigurationError`, which says what is wrong and how to write it."""
        arn, problem = _parse(text)
        if arn is None:
            raise ConfigurationError(f"AWS KMS key {show_value(text)}: {problem}")
        return arn

    @classmethod
    def parse_key(cls, text: object) -> KeyArn | None:
        """Parse the ARN of a key. None if ``text`` is something else, such as the ARN of an alias."""
        arn = _parse(text)[0] if isinstance(text, str) else None
        return arn if arn is not None and not arn.is_alias else None

    @property
    def text(self) -> str:
        return f"arn:{self.partition}:kms:{self.region}:{self.account}:{self.resource}/{self.name}"

    @property
    def is_alias(self) -> bool:
        return self.resource == "alias"

    @property
    def is_multi_region(self) -> bool:
        """Whether it is a key that has, or may have, replicas of the same id in other regions."""
        return not self.is_alias and self.name.startswith("mrk-")

    def in_region(self, region: str) -> KeyArn:
        """Give this key's replica in ``region``. A key that is not multi-Region has none, and is given itself."""
        return replace(self, region=region) if self.is_multi_region else self


def check_accounts(accounts: Collection[str]) -> frozenset[str]:
    """Check that these are accounts of AWS, 12 digits each. Raises `ConfigurationError`."""
    if isinstance(accounts, str):
        raise ConfigurationError("AWS KMS option decrypt_accounts must be a list of accounts, 12 digits each")
    for account in accounts:
        if not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(
                f"AWS KMS option decrypt_accounts: account {show_value(account)} must be 12 digits"
            )
    return frozenset(accounts)


def _parse(text: str) -> tuple[KeyArn | None, str]:
    if not text.startswith("arn:"):
        return None, _not_an_arn(text)
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[2] != "kms":
        return None, f"not the ARN of a KMS key or alias; give {_FORM}"
    _, partition, _, region, account, tail = parts
    resource, _, name = tail.partition("/")
    if partition not in _PARTITIONS:
        return None, f"unknown partition {show_value(partition)} (known: {', '.join(_PARTITIONS)})"
    if not _REGION.fullmatch(region):
        return (
            None,
            f"{show_value(region)} is not a region, such as us-east-1; requests are signed for the ARN's region",
        )
    if not _region_fits(partition, region):
        return (
            None,
            f"region {show_value(region)} is not in partition {show_value(partition)}; copy the ARN from AWS as it is",
        )
    if not _ACCOUNT.fullmatch(account):
        return None, f"account {show_value(account)} must be 12 digits"
    if resource == "key" and not (_UUID.fullmatch(name) or _MULTI_REGION_ID.fullmatch(name)):
        return None, f"key id {show_value(name)} must be a UUID or mrk- and 32 hex digits, in lower case"
    if resource == "alias" and not _ALIAS_NAME.fullmatch(name):
        return None, f"alias name {show_value(name)} must be letters, digits, '/', '_' and '-', at most 250"
    if resource not in ("key", "alias"):
        return None, f"{show_value(tail)} is neither key/KEY-ID nor alias/NAME"
    return KeyArn(partition, region, account, resource, name), ""


def _not_an_arn(text: str) -> str:
    if _UUID.fullmatch(text.lower()) or text.lower().startswith("mrk-"):
        return f"a key id alone says neither region nor account; give the key ARN, {_FORM}"
    if text.startswith("alias/"):
        return f"an alias name alone says neither region nor account; give the alias ARN, {_FORM}"
    return f"not an ARN in lower case; give {_FORM}"


def _region_fits(partition: str, region: str) -> bool:
    owner = next((name for name, prefix in _REGION_PREFIXES.items() if region.startswith(prefix)), "aws")
    return owner == partition
