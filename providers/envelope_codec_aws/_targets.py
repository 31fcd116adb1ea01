"""The keys that a configured ARN names: the key itself, or whatever an alias points at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from envelope_codec.errors import KmsUnavailable
from envelope_codec.provider import Failed, Meaning, meanings
from envelope_codec_aws._key_id import KeyArn

# An alias may be pointed at another key at any time, and other workers then seal under that key at once. So "not ours"
# holds for this many seconds only; what the alias was once seen to point at stays accepted.
_RECHECK = 10.0

# A failed look-up is repeated only after so many seconds: a record can name many keys, and each would be looked up.
_REFUSED = 5.0
_UNANSWERED = 1.0


class Targets:
    """The keys of one configured ARN, as far as they are known.

    Args:
        arn: of a key, or of an alias.
        accounts: any of their keys in the ARN's region counts as well.
        describe: asks AWS for the ARN of the key that the alias points at; raises `Failed`.
    """

    def __init__(self, arn: KeyArn, accounts: frozenset[str], describe: Callable[[], str]) -> None:
        self._arn = arn
        self._accounts = accounts
        self._describe = describe
        # Without a lock, which would have to survive a fork: set.add is atomic, and the worst that two threads can do
        # is to ask AWS twice.
        self._known = set() if arn.is_alias else {arn.text}
        self._asked_at: float | None = None
        self._failure: tuple[Meaning, float] | None = None

    def add(self, key_id: str) -> None:
        """Take note that the ARN names this key."""
        self._known.add(key_id)

    def can_be(self, key_id: str) -> bool:
        """Whether the ARN can name the key ``key_id``. An alias has the account and region of its key."""
        if not self._arn.is_alias:
            return key_id == self._arn.text
        key = KeyArn.parse_key(key_id)
        return key is not None and replace(self._arn, resource=key.resource, name=key.name) == key

    def find(self, key_id: str) -> str | None:
        """Find the ARN under which this region knows the key ``key_id``, if it is ours. It may ask AWS.

        Raises:
            Failed: AWS does not tell where the alias points, or did not a moment ago.
        """
        key = KeyArn.parse_key(key_id)
        if key is None:
            return None
        local = key.in_region(self._arn.region)
        here = local.text
        if here in self._known or self._is_of_account(local):
            return here
        if not self._arn.is_alias or not self.can_be(here) or not self._is_due():
            return None
        self._follow()
        return here if here in self._known else None

    def get(self, key_id: str) -> str:
        """Find it as `find` does. Raises `Failed` as well if it is not ours."""
        found = self.find(key_id)
        if found is None:
            raise Failed(meanings.OTHER_KEY)
        return found

    def _is_of_account(self, key: KeyArn) -> bool:
        place = (self._arn.partition, self._arn.region)
        return key.account in self._accounts and (key.partition, key.region) == place

    def _is_due(self) -> bool:
        return self._asked_at is None or time.monotonic() - self._asked_at >= _RECHECK

    def _follow(self) -> None:
        """Ask where the alias points, or raise the failure of a moment ago once more."""
        if self._failure is not None:
            meaning, until = self._failure
            if time.monotonic() < until:
                raise Failed(meaning)
        asked_at = time.monotonic()
        try:
            target = self._describe()
        except Failed as failed:
            pause = _UNANSWERED if failed.meaning.error is KmsUnavailable else _REFUSED
            self._failure = failed.meaning, time.monotonic() + pause
            raise
        self._known.add(target)
        self._asked_at = asked_at
        self._failure = None
