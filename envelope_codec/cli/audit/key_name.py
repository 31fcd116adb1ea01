"""A master key as a user names it: by its key id, or by a key URI."""

from __future__ import annotations

from envelope_codec.cli.audit.tally import Tally
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key


class KeyName:
    """What a user calls a master key. No KMS is asked what it is.

    Args:
        text: a key id as ``audit`` prints it, or a key URI.

    Attributes:
        defect: why the text is no key URI; empty if it is one.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.defect = ""
        self._key: MasterKey | None = None
        try:
            self._key = master_key(text)
        except ConfigurationError as error:
            self.defect = str(error)

    def choose(self, tally: Tally) -> tuple[str, ...]:
        """List the key ids that this may mean. An alias may mean several of those that were found."""
        found = {key.key_id for key in tally.needs}
        meant = {one for one in found if one == self.text or (self._key is not None and self._key.accepts(one))}
        return tuple(sorted(meant)) or (self._key.key_id if self._key is not None else self.text,)

    def is_certain(self, chosen: tuple[str, ...], tally: Tally) -> bool:
        """Whether the text names a key for certain. A misspelled one must not pass for one that nothing needs."""
        return self._key is not None or any(key.key_id in chosen for key in tally.needs)
