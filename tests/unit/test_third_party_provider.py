"""A provider from outside is found once its distribution is installed; what is wrong with an installation is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from envelope_codec.kms import ENTRY_POINT_GROUP

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "third_party"


def install(source: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def copy(target: Path, **renamed: str) -> Path:
    """The distribution's source under another name."""
    shutil.copytree(SOURCE, target)
    for file in [target / "pyproject.toml", *(target / "acme_kms").glob("*.py")]:
        text = file.read_text()
        for old, new in {"acme-kms-envelope": renamed["distribution"], "acme_kms": renamed["package"]}.items():
            text = text.replace(old, new)
        file.write_text(text)
    (target / "acme_kms").rename(target / renamed["package"])
    return target


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(SOURCE, tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rival")
    source = copy(folder / "source", distribution="rival-provider", package="rival_provider")
    return install(source, folder / "installed")


def python(code: str, *folders: Path) -> str:
    """What ``code`` prints in a process of its own that sees the distributions installed in ``folders``."""
    path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


REFUSED = """
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import master_key
try:
    master_key({uri!r})
except ConfigurationError as error:
    print(error)
"""


def test_the_scheme_is_unknown_before_the_provider_is_installed() -> None:
    assert python(REFUSED.format(uri="acmekms://x?endpoint=http://127.0.0.1:1")).startswith(
        "no provider for key URI scheme 'acmekms'"
    )


@pytest.mark.slow
def test_an_installed_provider_is_found_by_its_scheme(provider: Path) -> None:
    code = """
from envelope_codec.kms import MasterKey, master_key
key = master_key("acmekms://x?endpoint=http://127.0.0.1:1")
assert isinstance(key, MasterKey)
print(type(key).__module__, key.key_id)
"""
    assert python(code, provider) == "acme_kms._master_key acmekms://x"


@pytest.mark.slow
def test_the_example_passes_the_suites_that_are_shipped(provider: Path, tmp_path: Path) -> None:
    """As its author runs them: with pytest alone, and the names that are public."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(provider)}
    command += ["--rootdir", str(SOURCE), str(SOURCE / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "131 passed" in done.stdout


def test_the_example_imports_nothing_but_what_is_public() -> None:
    public = {"errors", "keystore", "kms", "provider", "store"}
    public |= {f"testing.{suite}conformance" for suite in ("", "store_", "keystore_")}
    named = re.findall(r"^(?:from|import) (envelope_codec\S*)", example_code(), re.MULTILINE)
    assert named
    assert {name.removeprefix("envelope_codec.") for name in named} <= public


def test_the_page_shows_the_example_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import example_code as tool  # type: ignore[import-not-found]

    shown = set[str]()
    for page, example in tool.PAGES.items():
        text = page.read_text("utf-8")
        assert tool.page(text, example) == text, "run: python tools/example_code.py"
        if example == SOURCE:
            shown |= set(tool.shown_files(text))
    there = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")} - {"tests/acme_server.py"}
    assert shown == there | {"pyproject.toml"}
    sys.modules.pop("example_code")


def example_code() -> str:
    return "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))


def test_the_doctor_knows_the_hints_of_a_third_party(provider: Path) -> None:
    code = """
from envelope_codec._facts import facts_of
from envelope_codec.cli.doctor.hint import hint
facts = facts_of("acmekms")
(meaning,) = [meaning for meaning in facts.meanings if meaning.code == "not-permitted"]
error = meaning.make_error(operation="unwrap", key_id="acmekms://x")
print(hint(facts, "unwrap", error, namespace="n", purpose="p", key_id="acmekms://x"))
"""
    assert python(code, provider) == "acme kms grant decrypt x"


STORING = """
import asyncio
from temporalio.client import Client
from envelope_codec import EnvelopePlugin
from envelope_codec.store import PayloadStore, parse_store_url
from envelope_codec.testing import FakeKms

async def main():
    with EnvelopePlugin(FakeKms(), storage="acmestore://shelf?name=theirs", storage_threshold=0) as plugin:
        converter = (await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])).data_converter
        stored = await converter.encode(["a text"])
        assert await converter.decode(stored) == ["a text"]
        store = parse_store_url("acmestore://shelf").open()
        assert isinstance(store, PayloadStore)
        [kept] = [kept async for kept in store.list_before(2.0**40)]
        assert b"a text" not in await store.get(kept.id)
        print(b"theirs" in stored[0].data)

asyncio.run(main())
"""


@pytest.mark.slow
def test_an_installed_store_is_found_by_its_scheme_and_keeps_what_is_sealed(provider: Path) -> None:
    assert python(STORING, provider) == "True"


@pytest.mark.slow
def test_an_installed_keystore_is_found_by_its_scheme_and_gets_what_a_keyring_publishes(provider: Path) -> None:
    code = """
import asyncio
from envelope_codec import EnvelopeConfig
from envelope_codec.keystore import Keystore, parse_keystore_url
from envelope_codec.testing import FakeKms

async def main():
    keyring = EnvelopeConfig(key=FakeKms(), keystore="acmekeystore://shelf").keyring()
    await keyring.sealing_key("default")
    keyring.close()
    keystore = parse_keystore_url("acmekeystore://shelf").open()
    assert isinstance(keystore, Keystore)
    print(len([kept async for kept in keystore.rows()]))

asyncio.run(main())
"""
    assert python(code, provider) == "1"


@pytest.mark.slow
def test_two_distributions_that_claim_one_scheme_of_stores_are_refused(provider: Path, rival: Path) -> None:
    code = """
from envelope_codec.errors import ConfigurationError
from envelope_codec.store import parse_store_url
try:
    parse_store_url("acmestore://shelf").open()
except ConfigurationError as error:
    print(error)
"""
    said = python(code, provider, rival)
    assert said == "storage: more than one installed store claims URL scheme 'acmestore'"


def test_an_unknown_scheme_is_refused_with_all_that_are_installed(provider: Path) -> None:
    said = python(REFUSED.format(uri="nosuchkms://x"), provider)
    assert said == (
        "no provider for key URI scheme 'nosuchkms' (installed: acmekms, awskms, azurekv, gcpkms, hashivault, "
        "localfile)"
    )


@pytest.mark.slow
def test_two_distributions_that_claim_one_scheme_are_refused(provider: Path, rival: Path) -> None:
    said = python(REFUSED.format(uri="acmekms://x?endpoint=http://127.0.0.1:1"), provider, rival)
    assert said == "more than one installed provider claims key URI scheme 'acmekms'"


def test_the_rival_alone_is_found(rival: Path) -> None:
    code = "from envelope_codec.kms import master_key; print(type(master_key('acmekms://x?endpoint=http://127.0.0.1:1')).__module__)"
    assert python(code, rival) == "rival_provider._master_key"


@pytest.mark.slow
def test_two_distributions_that_name_the_same_provider_are_no_rivals(provider: Path, tmp_path: Path) -> None:
    source = copy(tmp_path / "source", distribution="repackaged", package="acme_kms")
    code = (
        "from envelope_codec.kms import master_key; print(master_key('acmekms://x?endpoint=http://127.0.0.1:1').key_id)"
    )
    assert python(code, provider, install(source, tmp_path / "installed")) == "acmekms://x"


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r} or name.startswith({missing!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "uri", "extra"),
    [
        ("boto3", "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "aws"),
        ("botocore", "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "aws"),
        ("google.cloud", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcp"),
        ("google.cloud.kms_v1", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcp"),
        ("google_crc32c", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcp"),
        ("hvac", "hashivault://k?cluster=c", "vault"),
    ],
)
def test_a_missing_sdk_is_one_error_that_names_the_extra(missing: str, uri: str, extra: str) -> None:
    scheme = {"aws": "awskms", "gcp": "gcpkms", "vault": "hashivault"}[extra]
    assert python(WITHOUT.format(missing=missing) + REFUSED.format(uri=uri)) == (
        f'the provider for {scheme}:// needs a missing package: pip install "temporal-envelope-codec[{extra}]"'
    )


@pytest.mark.slow
def test_a_provider_from_outside_whose_sdk_is_missing_names_the_package(tmp_path: Path) -> None:
    source = copy(tmp_path / "source", distribution="needy-provider", package="needy_provider")
    module = source / "needy_provider" / "_connection.py"
    module.write_text(module.read_text().replace("import json\n", "import json\nimport sdk_that_is_not_there\n", 1))
    said = python(
        REFUSED.format(uri="acmekms://x?endpoint=http://127.0.0.1:1"), install(source, tmp_path / "installed")
    )
    assert said == 'the provider for acmekms:// needs a missing package: pip install "needy-provider"'
    facts = source / "needy_provider" / "_facts.py"
    facts.write_text(facts.read_text().replace('    requirement="needy-provider",\n', ""))
    said = python(REFUSED.format(uri="acmekms://x"), install(source, tmp_path / "without-facts"))
    assert said == "the provider for acmekms:// needs a missing package: install 'sdk_that_is_not_there'"


def test_the_library_itself_claims_five_schemes_once() -> None:
    assert sorted({(point.name, point.value.partition(":")[0]) for point in entry_points(group=ENTRY_POINT_GROUP)}) == [
        ("awskms", "envelope_codec_aws"),
        ("azurekv", "envelope_codec_azure"),
        ("gcpkms", "envelope_codec_gcp"),
        ("hashivault", "envelope_codec_vault"),
        ("localfile", "envelope_codec_local"),
    ]
