"""Fuzz one target in this process: ``python -m tests.fuzz.session TARGET SECONDS``. `tests.fuzz.run` starts it.

With ``--merge`` it looks for inputs of earlier runs that show what the seeds and the corpus do not, and copies them to
a folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import atheris

from tests.fuzz.places import FINDINGS, FOUND, kept
from tests.fuzz.sections import mutate
from tests.fuzz.target import NAMES, Target, load

_PACKAGES = (
    "envelope_codec",
    "envelope_codec_aws",
    "envelope_codec_azure",
    "envelope_codec_gcp",
    "envelope_codec_local",
    "envelope_codec_vault",
)
_PASSED = "--"
_LONGEST_SECONDS = 30  # that an input may take, on a machine that does other things as well
_MOST_MEGABYTES = 2_048


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("seconds", type=float, help="in all, the start included")
    parser.add_argument("--merge", type=Path, help="folder for the inputs that show more")
    own, passed = _split_arguments(sys.argv[1:])
    chosen = parser.parse_args(own)
    with atheris.instrument_imports(include=_PACKAGES):
        target = load(chosen.target)
        seeds = target.seeds()
        for seed in seeds.values():
            target.check(seed)  # everything is imported then
    # To merge, libFuzzer has a shell run its own program again and again, with other arguments after these.
    again = f"{sys.executable} -m tests.fuzz.session {chosen.target} 0 {_PASSED}"
    if passed:
        _fuzz(target, [again, *passed])
    folder = FOUND / chosen.target
    folder.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envelope-fuzz-") as given:
        begin = Path(given, "begin")
        begin.mkdir()
        for name, seed in seeds.items():
            (begin / name).write_bytes(seed)
        for path in kept(chosen.target):
            (begin / path.name).write_bytes(path.read_bytes())
        options = [f"-max_len={target.longest}", f"-timeout={_LONGEST_SECONDS}", f"-rss_limit_mb={_MOST_MEGABYTES}"]
        options.append(f"-artifact_prefix={FINDINGS}/{chosen.target}-")
        if chosen.merge:
            merged = chosen.merge / chosen.target
            merged.mkdir(parents=True)
            for path in begin.iterdir():
                (merged / path.name).write_bytes(path.read_bytes())
            options += ["-merge=1", str(merged), str(folder)]
        else:
            left = max(1, round(chosen.seconds - (time.monotonic() - begun)))
            options += [f"-max_total_time={left}", "-print_final_stats=1", f"-dict={_write_words(target, given)}"]
            options += [str(folder), str(begin)]
        _fuzz(target, [again, *options])


def _split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments, and those for libFuzzer that it has added itself."""
    if _PASSED not in arguments:
        return arguments, []
    at = arguments.index(_PASSED)
    return arguments[:at], arguments[at + 1 :]


def _fuzz(target: Target, arguments: list[str]) -> None:
    def change(data: bytes, most: int) -> bytes:
        changed: bytes = atheris.Mutate(data, most)
        return changed

    def mutate_input(data: bytes, most: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.15:
            return change(data, most)
        return mutate(data, most, chance, change)

    atheris.Setup(arguments, target.check, custom_mutator=mutate_input if target.sectioned else None)
    atheris.Fuzz()


def _write_words(target: Target, folder: str) -> Path:
    path = Path(folder, "words")
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in target.words]
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return path


if __name__ == "__main__":
    main()
