"""Build what a release would upload, and look whether it may be: ``python -m tools.release_check [FOLDER]``.

Builds the commit that is checked out, twice, in two folders, and compares the bytes. Asks no network: the build backend
and the dependencies are those of the environment that it runs in. FOLDER, ``dist`` if none is named, then holds wheel,
sdist, SBOM (CycloneDX) and SHA256SUMS. What is not committed is in none of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from email.parser import Parser
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]

_SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}|\bAKIA[0-9A-Z]{16}\b|\bhvs\.[A-Za-z0-9]{20}"
)
_SMOKE = """
import asyncio, importlib, pathlib, sys
from importlib.metadata import entry_points
from temporalio.api.common.v1 import Payload
import envelope_codec
assert pathlib.Path(envelope_codec.__file__).is_relative_to(sys.prefix), envelope_codec.__file__
for name in ("aws", "azure", "gcp", "local", "vault"):
    module = importlib.import_module("envelope_codec_" + name)
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
for group in ("providers", "provider_facts", "stores", "keystores"):
    for point in entry_points(group="envelope_codec." + group):
        point.load()
async def main():
    clear = Payload(metadata={"encoding": b"json/plain"}, data=b'"clear"')
    codec = envelope_codec.EnvelopeCodec("localfile://" + sys.argv[1])
    sealed = await codec.encode([clear])
    assert b"clear" not in sealed[0].SerializeToString()
    assert await codec.decode(sealed) == [clear]
asyncio.run(main())
"""


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Say which artifacts of two builds differ. Both map names to SHA-256."""
    names = sorted(first.keys() | second.keys())
    return [f"{name}: two builds differ" for name in names if first.get(name) != second.get(name)]


def wheel_findings(wheel: Path) -> list[str]:
    """Say what is wrong with the contents of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    packages = {name.partition("/")[0] for name in files if ".dist-info/" not in name}
    found = [f"{name}: no file of a package" for name in files if not _belongs(name)]
    found += [f"{name}: holds what looks like a secret" for name, data in files.items() if _SECRETS.search(data)]
    found += [f"{package}: py.typed is missing" for package in sorted(packages) if f"{package}/py.typed" not in files]
    if not any(re.fullmatch(r"[^/]+\.dist-info/licenses/LICENSE", name) for name in files):
        found.append("the licence is missing")
    [metadata] = (data for name, data in files.items() if name.endswith(".dist-info/METADATA"))
    return found + description_findings(metadata.decode())


def description_findings(metadata: str) -> list[str]:
    """Say which links of the long description lead nowhere on a page of an index."""
    text = Parser().parsestr(metadata).get_payload()
    assert isinstance(text, str)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    found = [f"description: {target} is relative" for target in targets if not target.startswith(("https://", "#"))]
    return found if text.strip() else ["the description is empty"]


def sdist_findings(sdist: Path, tracked: Iterable[str]) -> list[str]:
    """Say which files of an sdist the repository does not know."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    return [f"{name}: not in the repository" for name in sorted(names - set(tracked) - {"PKG-INFO"})]


def build(commit: str, folder: Path, zone: str) -> dict[str, Path]:
    """Build sdist, and from it the wheel, of a commit. Returns them by name."""
    source, out = folder / "source", folder / "out"
    source.mkdir(parents=True)
    archive = folder / "source.tar"
    _run(["git", "archive", "--output", str(archive), commit], cwd=ROOT)
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    moment = _output(["git", "show", "--no-patch", "--format=%ct", commit])
    environment = {**os.environ, "SOURCE_DATE_EPOCH": moment, "TZ": zone, "PYTHONPATH": ""}
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), "."], cwd=source, env=environment)
    return {path.name: path for path in sorted(out.iterdir())}


def smoke(wheel: Path, folder: Path) -> None:
    """Install a wheel in an environment of its own and use it. Dependencies are those of this environment."""
    venv = folder / "venv"
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    python = str(venv / "bin" / "python")
    _run([*_PIP, "--python", python, "install", "--quiet", "--no-index", "--no-deps", str(wheel)])
    [site] = venv.glob("lib/python*/site-packages")
    # Read after the folder that it lies in: what the wheel brings goes first.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    use(venv, folder)


def use(venv: Path, folder: Path) -> None:
    """Use what is installed in an environment: the command, every entry point, and a payload sealed and opened.

    Args:
        venv: the environment.
        folder: where a key file is made.
    """
    key = folder / "key.json"
    _run([str(venv / "bin" / "envelope-codec"), "--version"], cwd=folder)
    _run([str(venv / "bin" / "envelope-codec"), "keygen", str(key)], cwd=folder)
    _run([str(venv / "bin" / "python"), "-I", "-c", _SMOKE, str(key)], cwd=folder)


def write_sbom(target: Path) -> None:
    """Write an SBOM: what the package is tested with, all extras included, with the hash of every file."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON"]
    pins = str(ROOT / "requirements" / "image.txt")
    _run([*command, "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library", "-o", str(target), pins])


def main(arguments: Sequence[str]) -> int:
    """Build and check; the status is 1 if anything is found."""
    target = Path(*arguments[:1] or ["dist"]).resolve()
    commit = _output(["git", "rev-parse", "HEAD"])
    tracked = _output(["git", "ls-tree", "-r", "--name-only", commit]).splitlines()
    with TemporaryDirectory() as name:
        first, second = (
            build(commit, Path(name, *at), zone) for at, zone in ((("a",), "UTC"), (("b", "c"), "Asia/Tokyo"))
        )
        found = differences(_digests(first), _digests(second))
        [wheel] = (path for path in first.values() if path.suffix == ".whl")
        [sdist] = (path for path in first.values() if path.suffix == ".gz")
        found += wheel_findings(wheel) + sdist_findings(sdist, tracked)
        _run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)])
        smoke(wheel, Path(name))
        target.mkdir(parents=True, exist_ok=True)
        for former in (*target.glob("temporal_envelope_codec-*"), *target.glob("SHA256SUMS")):
            former.unlink()
        for path in (wheel, sdist):
            shutil.copy(path, target)
        write_sbom(target / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json")
    digests = _digests({path.name: path for path in sorted(target.glob("temporal_envelope_codec-*"))})
    (target / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), "utf-8")
    print((target / "SHA256SUMS").read_text("utf-8"), end="")
    print(*found or [f"{target} holds what a release would upload."], sep="\n")
    if "git.example.com" in (ROOT / "pyproject.toml").read_text("utf-8"):
        print("[project.urls] is still a placeholder: set it before anything is published.")
    return 1 if found else 0


_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def _belongs(name: str) -> bool:
    if re.fullmatch(r"temporal_envelope_codec-[^/]+\.dist-info/.+", name):
        return True
    parts = name.split("/")
    own = re.fullmatch(r"envelope_codec(_(aws|azure|gcp|local|vault))?", parts[0])
    kinds = (".py", ".pyi", ".typed", ".css", ".js", ".html", ".svg", ".sql", ".lua")
    return bool(own) and "tests" not in parts and name.endswith(kinds)


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"{' '.join(command[:4])} … failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
