"""What is mutated, and which tests are to notice."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".mutation"
SURVIVORS = ROOT / "tests" / "unit" / "tools" / "mutation_survivors.toml"

# The room's own tests, and those of the wire format. Others, such as those of the codec, would kill more.
TESTS = (
    "tests/unit/keys",
    "tests/unit/test_envelope.py",
    "tests/unit/test_row_vectors.py",
    "tests/unit/test_second_reader.py",
    "tests/unit/test_secrets_unsaid.py",
    "tests/unit/test_shared_vectors.py",
    "tests/unit/test_spec.py",
    "tests/unit/test_vectors.py",
)
_OF_WIRE_FORMAT = ("tests/unit/test_envelope.py", "tests/unit/test_vectors.py")


# Modules of `keys/` that other tests test than those of their own name.
_ELSEWHERE = {
    "active_slot": ("sharing",),
    "auth_keys": ("sharing",),
    "keyset": ("key_sets",),
    "keystore_reach": ("opening_keystore", "publication"),
    "lookups": ("opening_keystore",),
    "opening_key": ("opening",),
    "publication_queue": ("publication",),
    "refusal_cache": ("opening",),
    "waiter": ("flight", "stop"),
}


def modules() -> list[str]:
    """Return the paths of all modules that are mutated, from the root."""
    keys = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "envelope_codec" / "keys").glob("*.py"))
    return ["envelope_codec/envelope.py", *keys]


def own_tests(module: str) -> tuple[str, ...]:
    """Return the beginnings of the names of a module's own tests, which are run first."""
    if module == "envelope_codec/envelope.py":
        return _OF_WIRE_FORMAT
    name = Path(module).stem
    return tuple(f"tests/unit/keys/test_{own}" for own in (name, *_ELSEWHERE.get(name, ())))
