"""A key as the configuration names it: a key URI of any scheme, or the name of a key without one.

- It gives a master key, or `ConfigurationError`, whose text can be printed.
- Nothing is asked of a network, and nothing is written.
- The text repeats no password that stands before an ``@``.
- The key id has one spelling: given as a key, it is the key of this id.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key
from envelope_codec_local.key_file import KeyFile, fingerprint
from tests.fuzz.quiet_place import folder, quiet_place
from tests.fuzz.target import Target
from tests.fuzz.watch import reading_only

PASSWORD = "hunter2-of-the-fuzzer"
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CRYPTO_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
HERE = "/FOLDER/"
_KEY = bytes(range(32))


def check(data: bytes) -> None:
    uri = data.decode("utf-8", "surrogateescape").replace(HERE, f"{_files()}/")
    with quiet_place():
        _import_all()
        made = _make(uri)
        if isinstance(made, str):
            assert not _has_password(uri) or PASSWORD not in made, "the error shows a password"
            return
        try:
            _check_key(uri, made)
        finally:
            made.close()


def _make(uri: str) -> MasterKey | str:
    """Return the master key, or the text of the error."""
    try:
        with reading_only():
            return master_key(uri)
    except ConfigurationError as error:
        return str(error)


def _check_key(uri: str, master: MasterKey) -> None:
    key_id = master.key_id
    assert 0 < len(key_id.encode()) <= 512
    assert key_id.isprintable()
    repr(master)
    if not key_id.startswith(("localfile:", "arn:")):  # a key file is named by its path, and an alias asks the KMS
        assert master.accepts(key_id)
    if not key_id.startswith("localfile:"):
        again = master_key(key_id)
        assert again.key_id == key_id
        again.close()


def _has_password(uri: str) -> bool:
    """Whether a password stands somewhere. In the path of a key file, it is a part of its name."""
    scheme, _, rest = uri.partition("://")
    return f":{PASSWORD}@" in (rest.partition("/")[0] if scheme == "localfile" else uri)


@lru_cache(maxsize=1)
def _import_all() -> None:
    """Have all SDKs imported, which may do more than read."""
    for text in _texts().values():
        with suppress(ConfigurationError):
            master_key(text.replace(HERE, f"{_files()}/")).close()


@lru_cache(maxsize=1)
def _files() -> str:
    """Return the folder of a good key file, ``key``, and of one that anyone may read, ``open``."""
    for name, mode in (("key", 0o600), ("open", 0o644)):
        path = folder() / name
        path.write_bytes(KeyFile(fingerprint(_KEY), "1", {"1": _KEY}).to_bytes())
        path.chmod(mode)
    return str(folder())


def seeds() -> dict[str, bytes]:
    return {name: text.encode() for name, text in _texts().items()}


def _texts() -> dict[str, str]:
    vault = "hashivault://key?mount=transit&namespace=a/b&cluster=c&endpoint=https://vault:8200"
    return {
        "aws": ARN,
        "aws-uri": f"awskms:///{ARN}?endpoint=https://kms&region=us-east-1&connect_timeout=1.5&fips=true",
        "aws-alias": f"awskms:///{ARN.partition('key/')[0]}alias/a?decrypt_accounts=111122223333,444455556666",
        "aws-role": f"awskms:///{ARN}?role=arn:aws:iam::111122223333:role/r&external_id=e&profile=p",
        "gcp": CRYPTO_KEY,
        "gcp-uri": f"gcpkms://{CRYPTO_KEY}?endpoint=localhost:1&read_timeout=3",
        "gcp-credentials": f"gcpkms://{CRYPTO_KEY}?credentials_file={HERE}key",
        "vault": vault,
        "vault-approle": f"{vault}&auth=approle&role_id=r&secret_id_file={HERE}key",
        "vault-cert": f"{vault}&auth=cert&client_cert={HERE}key&client_key={HERE}key&ca_bundle={HERE}key",
        "vault-token": f"hashivault://key?auth=token-file&token_file={HERE}key",
        "vault-aws": "hashivault://key?auth=aws&role=r&aws_server_id=v",
        "azure": "azurekv://example.vault.azure.net/key",
        "azure-options": "azurekv://example.vault.azure.net/key?credential=environment&read_timeout=3",
        "local": f"localfile://{HERE}key",
        "local-open": f"localfile://{HERE}open",
        "local-device": "localfile:///dev/zero",
        "password": f"hashivault://user:{PASSWORD}@key",
        "password-option": f"hashivault://key?endpoint=https://user:{PASSWORD}@vault",
        "escaped": "hashivault://key?mount=%74ransit",
        "other": "s3://bucket",
    }


TARGET = Target(
    check,
    seeds,
    (
        *(b"awskms:///", b"azurekv://", b"gcpkms://", b"hashivault://", b"localfile://", b"arn:aws:kms:", b"mrk-"),
        *(b"%2F", b"%00", b"\xed\xa0\x80", b"&endpoint=", b"&auth=", b"&credential=", HERE.encode(), b"?", b"#", b"@"),
        f":{PASSWORD}@".encode(),
    ),
    longest=600,
    sectioned=False,
)
