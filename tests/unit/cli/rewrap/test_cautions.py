"""What a rewrap warns of."""

from __future__ import annotations

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.rewrap.cautions import cautions
from envelope_codec.cli.rewrap.survey import Survey
from envelope_codec.testing import FakeKeystore, FakeKms


def test_nothing_is_said_where_all_is_well() -> None:
    assert list(cautions(EnvelopeConfig(key=FakeKms()), Survey(0), ())) == []


def test_each_thing_is_said() -> None:
    config = EnvelopeConfig(key=FakeKms(), wrapping="direct", keystore=FakeKeystore(), keystore_mode="best_effort")
    told = "\n".join(cautions(config, Survey(0, young=2, unreadable=1), ("namespaces.prod.key",)))
    for words in (
        "from namespaces.prod.key to decrypt_keys",
        "2 wrapping keys under the old master key may still seal",
        "envelope_codec_keystore_queued",
        "in direct mode",
        "1 row can't be read",
    ):
        assert words in told
