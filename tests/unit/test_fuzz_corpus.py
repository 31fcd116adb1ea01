"""Whatever fuzzing begins with or has found holds what its target says: no fuzzer is needed for that."""

from __future__ import annotations

import pytest

from tests.fuzz.places import CORPUS, kept
from tests.fuzz.target import NAMES, load

LARGEST = 100_000  # bytes of the corpus


# These two import the SDK of every datastore and of every KMS.
IMPORTING = ("key_uri", "store_url")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in IMPORTING else ()) for name in NAMES]
)
def test_all_inputs_hold(name: str) -> None:
    target = load(name)
    inputs = {**target.seeds(), **{path.name: path.read_bytes() for path in kept(name)}}
    failed = {}
    for number, data in inputs.items():
        try:
            target.check(data)
        except Exception as error:
            failed[number] = repr(error)
    assert failed == {}
    assert len(inputs) > 5
    assert all(len(data) <= target.longest for data in inputs.values())


def test_the_corpus_is_small_and_of_targets_alone() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    assert {path.parent.name for path in files} <= set(NAMES)
    assert {path.parent.parent for path in files} <= {CORPUS}
