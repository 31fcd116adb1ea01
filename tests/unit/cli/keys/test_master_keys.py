"""The master keys that the doctor loads."""

from __future__ import annotations

from collections import Counter

import pytest

from envelope_codec.cli.keys import master_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.errors import ConfigurationError
from envelope_codec.testing import FakeKms


class Closing(FakeKms):
    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()

    def load(uri: str) -> FakeKms:
        counts[uri] += 1
        return Closing(uri)

    monkeypatch.setattr(master_keys, "master_key", load)
    return counts


def test_a_uri_is_loaded_once_to_wrap_and_once_to_open(loaded: Counter[str]) -> None:
    keys = MasterKeys()
    sealer, opener = (keys.get("fakekms://a", opens=opens) for opens in (False, True))
    assert sealer is not opener
    assert keys.get("fakekms://a", opens=True) is opener
    assert loaded == {"fakekms://a": 2}


def test_only_what_was_loaded_here_is_closed(loaded: Counter[str]) -> None:
    keys, own = MasterKeys(), Closing("fakekms://own")
    assert keys.get(own, opens=True) is own
    here = keys.get("fakekms://a", opens=True)
    keys.close()
    keys.close()
    assert isinstance(here, Closing)
    assert (own.closed, here.closed) == (0, 1)


def test_what_can_t_be_loaded_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="no provider"):
        MasterKeys().get("what://k", opens=True)
