"""A master key as a user names it: by its key id, or by a key URI."""

from __future__ import annotations

from envelope_codec.cli.audit.need import PROXIED
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.kms import MasterKey, master_key


class KeyName:
    """What a user calls a master key.

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
        """List the key ids that this may mean. An alias may mean several of those that were found.

        What Temporal's proxy calls the key is among them.

        Of an alias, the KMS may be asked where it points. Where it does not say, the text means none of them.
        """
        found = {key.key_id for key in tally.needs}
        proxied = {key.key_id for key, need in tally.needs.items() if need.purposes[PROXIED]}
        meant = {one for one in found if one == self.text or self._accepts(one)}
        meant |= {one for one in proxied if self._may_be_named(one)}
        return tuple(sorted(meant)) or (self._key.key_id if self._key is not None else self.text,)

    def find_doubt(self, chosen: tuple[str, ...], tally: Tally) -> str:
        """Say why the text may mean another key than it says. Empty if it is certain.

        A misspelled key, or one without all that its key id has, must not pass for one that nothing needs.
        """
        found = {key.key_id for key in tally.needs}
        if not found.isdisjoint(chosen):
            return ""
        if self._key is None:
            return f"it is no key URI ({self.defect}), and no history names it as it is spelled"
        if not self._accepts(self._key.key_id):
            return "it is an alias, which may have pointed at another key: name the key itself"
        alike = sorted(one for one in found if _bare(one) == _bare(self._key.key_id))
        return f"histories name {', '.join(map(repr, alike))}: if that is this key, spell it so" if alike else ""

    def _accepts(self, key_id: str) -> bool:
        if self._key is None:
            return False
        try:
            return self._key.accepts(key_id)
        except EnvelopeError:
            return False

    def _may_be_named(self, name: str) -> bool:
        """Whether Temporal's proxy may call the key ``name``."""
        make = getattr(self._key, "proxy_unwrapper", None)
        if make is None:
            return False
        try:
            make(name)
        except ConfigurationError:
            return False
        return True


def _bare(key_id: str) -> str:
    """Return what two key ids have in common that differ in letter case, or in what stands behind the key's name."""
    return key_id.partition("?")[0].casefold()
