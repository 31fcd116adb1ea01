"""A provider from outside is found once its distribution is installed; what is wrong with an installation is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from envelope_codec.kms import ENTRY_POINT_GROUP

SOURCE = Path(__file__).parents[1] / "third_party_provider"


def install(source: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def copy(target: Path, **renamed: str) -> Path:
    """The distribution's source under another name."""
    shutil.copytree(SOURCE, target)
    package = target / "envelope_codec_test_provider"
    text = (target / "pyproject.toml").read_text()
    for old, new in {
        "envelope-codec-test-provider": renamed["distribution"],
        "envelope_codec_test_provider": renamed["package"],
    }.items():
        assert old in text
        text = text.replace(old, new)
    (target / "pyproject.toml").write_text(text)
    package.rename(target / renamed["package"])
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
    assert python(REFUSED.format(uri="testkms://x")).startswith("no provider for key URI scheme 'testkms'")


@pytest.mark.slow
def test_an_installed_provider_is_found_by_its_scheme_and_wraps_and_unwraps(provider: Path) -> None:
    code = """
from envelope_codec.errors import InvalidCiphertext
from envelope_codec.kms import MasterKey, master_key
key = master_key("testkms://x")
assert isinstance(key, MasterKey)
wrapped = key.wrap(bytes(range(32)), {"temporal-namespace": "default"})
assert key.accepts(wrapped.key_id)
assert key.unwrap(wrapped, {"temporal-namespace": "default"}).secret == bytes(range(32))
try:
    key.unwrap(wrapped, {"temporal-namespace": "other"})
except InvalidCiphertext:
    print(type(key).__module__, key.key_id)
"""
    assert python(code, provider) == "envelope_codec_test_provider testkms://x"


STORING = """
import asyncio
from temporalio.client import Client
from envelope_codec import EnvelopePlugin
from envelope_codec.store import PayloadStore, parse_store_url

async def main():
    with EnvelopePlugin("testkms://x", storage="teststore://shelf?name=theirs", storage_threshold=0) as plugin:
        converter = (await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin])).data_converter
        stored = await converter.encode(["a text"])
        assert await converter.decode(stored) == ["a text"]
        store = parse_store_url("teststore://shelf").open()
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
def test_two_distributions_that_claim_one_scheme_of_stores_are_refused(provider: Path, rival: Path) -> None:
    code = """
from envelope_codec.errors import ConfigurationError
from envelope_codec.store import parse_store_url
try:
    parse_store_url("teststore://shelf").open()
except ConfigurationError as error:
    print(error)
"""
    said = python(code, provider, rival)
    assert said == "storage: more than one installed store claims URL scheme 'teststore'"


def test_an_unknown_scheme_is_refused_with_all_that_are_installed(provider: Path) -> None:
    said = python(REFUSED.format(uri="nosuchkms://x"), provider)
    assert said == (
        "no provider for key URI scheme 'nosuchkms' (installed: awskms, gcpkms, hashivault, localfile, testkms)"
    )


def test_two_distributions_that_claim_one_scheme_are_refused(provider: Path, rival: Path) -> None:
    said = python(REFUSED.format(uri="testkms://x"), provider, rival)
    assert said == "more than one installed provider claims key URI scheme 'testkms'"


def test_the_rival_alone_is_found(rival: Path) -> None:
    code = "from envelope_codec.kms import master_key; print(type(master_key('testkms://x')).__module__)"
    assert python(code, rival) == "rival_provider"


@pytest.mark.slow
def test_two_distributions_that_name_the_same_provider_are_no_rivals(provider: Path, tmp_path: Path) -> None:
    source = copy(tmp_path / "source", distribution="repackaged", package="envelope_codec_test_provider")
    code = "from envelope_codec.kms import master_key; print(master_key('testkms://x').key_id)"
    assert python(code, provider, install(source, tmp_path / "installed")) == "testkms://x"


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
    module = source / "needy_provider" / "__init__.py"
    module.write_text(module.read_text().replace("import os\n", "import os\nimport sdk_that_is_not_there\n", 1))
    said = python(REFUSED.format(uri="testkms://x"), install(source, tmp_path / "installed"))
    assert said == "the provider for testkms:// needs a missing package: install 'sdk_that_is_not_there'"


def test_the_library_itself_claims_four_schemes_once() -> None:
    assert sorted({(point.name, point.value.partition(":")[0]) for point in entry_points(group=ENTRY_POINT_GROUP)}) == [
        ("awskms", "envelope_codec_aws"),
        ("gcpkms", "envelope_codec_gcp"),
        ("hashivault", "envelope_codec_vault"),
        ("localfile", "envelope_codec_local"),
    ]
