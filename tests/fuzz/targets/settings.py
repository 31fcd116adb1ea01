"""Settings in a TOML file and in environment variables, those of the library and those of the codec server.

- They are read, or refused with `ConfigurationError`, whose text can be printed.
- What is read has a repr, and is the same once more when it is made from its own values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.server import ServerConfig
from tests.fuzz.quiet_place import folder
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import Target

ENVIRONMENT, WITH_FILE = 1, 2
_KEY = b'key = "fakekms://fuzz"\n'


def check(data: bytes) -> None:
    """Sections: the file; then names of settings and values, for the environment."""
    given = Sections(data)
    file = folder() / "envelope.toml"
    file.write_bytes(given[0])
    if not given.flags & ENVIRONMENT:
        _check_read(lambda: EnvelopeConfig.from_file(file))
        _check_read(lambda: ServerConfig.from_file(file))
        return
    more = [_text(section) for section in given.after(1)]
    variables = {f"ENVELOPE_CODEC_{name}": text for name, text in zip(more[::2], more[1::2], strict=False)}
    if given.flags & WITH_FILE:
        variables["ENVELOPE_CODEC_FILE"] = str(file)
    elif "ENVELOPE_CODEC_FILE" in variables:
        return
    _check_read(lambda: EnvelopeConfig.from_env(variables))
    _check_read(lambda: ServerConfig.from_env(variables))


def _check_read(read: Any) -> None:
    try:
        config = read()
    except ConfigurationError as error:
        str(error).encode()
        return
    assert repr(config)
    declared: Mapping[str, Any] = {name: getattr(config, name) for name in config.model_fields_set}
    again = type(config)(**declared)
    assert again == config


def _text(section: bytes) -> str:
    return section.replace(b"\0", b"").decode("utf-8", "replace")


def seeds() -> dict[str, bytes]:
    general = _KEY + (
        b'backup_keys = ["fakekms://a", "fakekms://b"]\ndecrypt_keys = "fakekms://c"\nmin_recipients = 2\n'
        b'lease = "5m"\nmax_payload = "1MiB"\nrequired = ["prod-*"]\nstorage = "s3://bucket/prefix?name=n"\n'
        b'former_storage = "file:///tmp"\nstorage_threshold = 0\nkeystore = "sqlite:////tmp/k"\n'
        b"share_wrapping_keys = true\n"
        b'keystore_auth = ["' + b"a" * 64 + b'"]\nlegacy_codecs = "module:name"\n'
        b'[namespaces."prod-*"]\nkey = "fakekms://p"\nlease = 60\ncontext = { tenant = "t" }\n'
        b'[namespaces.dev]\nkey = "fakekms://d"\n[namespace_aliases]\nold = "dev"\n'
        b'[context]\nteam = "a"\n[temporal_proxy_keys]\n"awskms:///x" = ["fakekms://fuzz"]\n'
    )
    server = _KEY + (
        b'[server]\nlisten = ["127.0.0.1:8081", "[::1]:1"]\nurl = "https://codec.example"\nprefix = "/codec"\n'
        b'origins = ["https://cloud.temporal.io"]\nrate_limit = "10/second"\nbody_limit = "1MiB"\ninline_below = "0"\n'
        b'trusted_proxies = ["10.0.0.0/8"]\nhosts = "codec"\n'
        b'[[server.auth]]\nissuer = "https://issuer.example"\naudience = "codec"\n'
        b'[[server.rules]]\nclaims = { sub = "a" }\nnamespaces = ["*"]\nverbs = ["decode"]\n'
        b'[server.peers]\na = ["b-*"]\n'
    )
    return {
        "empty": join(0, b""),
        "key": join(0, _KEY),
        "general": join(0, general),
        "server": join(0, server),
        "array": join(0, b"a = " + b"[" * 100),
        "numbers": join(0, _KEY + b"lease = 1e3\nmax_payloads = 1_0\ncache_size = 0x10\ntimeout = nan\n"),
        "times": join(0, b"a = 1979-05-27T07:32:00Z\nb = 07:32:00.5\nc = '''\nx'''\n"),
        "environment": join(
            ENVIRONMENT,
            b"",
            *(b"KEY", b"fakekms://fuzz", b"BACKUP_KEYS", b"fakekms://a, fakekms://b", b"REQUIRED", b"true"),
            *(b"NAMESPACES", b'{"a": {"key": "fakekms://x"}}', b"LEASE", b"5m", b"SEALING", b"0"),
        ),
        "environment-server": join(
            ENVIRONMENT | WITH_FILE,
            server,
            *(b"SERVER_LISTEN", b"127.0.0.1:1, 127.0.0.1:2", b"SERVER_RULES", b'[{"namespaces": "*"}]'),
            *(b"SERVER_AUTH", b'[{"issuer": "https://i"}]', b"SERVER_PEERS", b'{"a": ["b"]}'),
        ),
    }


WORDS = [name.encode() for model in (EnvelopeConfig, ServerConfig) for name in model.model_fields]
TARGET = Target(check, seeds, (*WORDS, b"fakekms://", b"MiB", b"'''", b"[[server.rules]]", b"1e999", b"inf", b"true"))
