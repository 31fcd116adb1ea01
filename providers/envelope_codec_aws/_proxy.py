"""Keys as Temporal's proxy names them: ``awskms:///ARN?context_NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import parse_proxy_uri
from envelope_codec_aws._facts import FACTS
from envelope_codec_aws._key_id import KeyArn

_ALIAS = "alias/"
_CONTEXT = "context_"


def read_context(uri: str, arn: KeyArn) -> Mapping[str, str]:
    """Read the encryption context with which the proxy has its data keys wrapped: empty, unless ``uri`` names one.

    Its other options say how the proxy reaches AWS, which is no matter here.

    Raises:
        ConfigurationError: ``uri`` is of another key than ``arn``, as far as it tells.
    """
    parsed = parse_proxy_uri(uri, scheme=FACTS.scheme)
    if not _can_be(parsed.name, arn):
        raise ConfigurationError(f"the proxy's name is of another key than {arn.text}")
    named = {name.removeprefix(_CONTEXT): text for name, text in parsed.options.items() if name.startswith(_CONTEXT)}
    if not all(named) or not all(named.values()):
        raise ConfigurationError("the proxy's name of the key has an empty encryption context, which AWS does not take")
    return named


def _can_be(name: str, arn: KeyArn) -> bool:
    """Whether ``name``, an ARN, a key id or the name of an alias, can be of the key ``arn``.

    Where an alias stands on one side alone, nobody can tell without asking AWS.
    """
    if name.startswith("arn:"):
        other = KeyArn.parse(name)
        if (other.partition, other.account) != (arn.partition, arn.account):
            return False
        if other.in_region(arn.region).region != arn.region:
            return False
        is_alias, name = other.is_alias, other.name
    else:
        is_alias, name = name.startswith(_ALIAS), name.removeprefix(_ALIAS)
    return is_alias != arn.is_alias or name == arn.name
