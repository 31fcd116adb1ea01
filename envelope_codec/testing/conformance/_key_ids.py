"""A key id has one spelling."""

from __future__ import annotations

from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET


class KeyIds:
    """A key id has one spelling."""

    def test_the_recorded_key_id_is_canonical(self, key: MasterKey) -> None:
        """One spelling a key, which holds neither endpoint nor credentials: opened by itself it is itself."""
        wrapped = key.wrap(SECRET, CONTEXT)
        assert key.key_id == wrapped.key_id
        assert key.accepts(wrapped.key_id)
        assert key.key_id.isprintable()
        assert "127.0.0.1" not in key.key_id
        assert "endpoint" not in key.key_id

    def test_a_foreign_key_id_is_not_accepted(self, key: MasterKey, foreign: MasterKey) -> None:
        assert key.key_id != foreign.key_id
        assert not key.accepts(foreign.key_id)
        assert not foreign.accepts(key.key_id)

    def test_no_other_spelling_of_the_key_id_is_accepted(self, uri: str, key: MasterKey) -> None:
        own = key.key_id
        for other in (
            "",
            own + "/",
            own + " ",
            " " + own,
            own + "\n",
            own[:-1],
            own + "x",
            own.upper(),
            own.swapcase(),
        ):
            assert other == own or not key.accepts(other)
