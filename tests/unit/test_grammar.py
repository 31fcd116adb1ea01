"""Durations, sizes and lists are written alike in all settings: of the library, of the codec server, of commands."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.server.config import ServerConfig
from envelope_codec.testing import FakeKms

SIZES = {
    "1": 1,
    "1B": 1,
    " 12 b ": 12,
    "1kb": 1_000,
    "1kB": 1_000,
    "1KB": 1_000,
    "1KiB": 1_024,
    "1kib": 1_024,
    "1MB": 10**6,
    "1mb": 10**6,
    "1MiB": 2**20,
    "1 mib": 2**20,
    "1GB": 10**9,
    "1gib": 2**30,
}
DURATIONS = {"1": 1.0, "1.5": 1.5, "90s": 90.0, "90S": 90.0, "5m": 300.0, "5 M": 300.0, "24h": 86_400.0, "1D": 86_400.0}


def library(**settings: Any) -> EnvelopeConfig:
    return EnvelopeConfig(key=FakeKms(), storage="file:///payloads", **settings)


@pytest.mark.parametrize("text", SIZES)
def test_a_size_is_the_same_for_the_library_and_its_server(text: str) -> None:
    assert library(storage_threshold=text).storage_threshold == SIZES[text]
    assert ServerConfig(max_body_bytes=text, body_limit=1).max_body_bytes == SIZES[text]
    environ = {"ENVELOPE_CODEC_KEY": "fakekms://k", "ENVELOPE_CODEC_STORAGE": "file:///payloads"}
    environ |= {
        "ENVELOPE_CODEC_STORAGE_THRESHOLD": text,
        "ENVELOPE_CODEC_SERVER_MAX_BODY_BYTES": text,
        "ENVELOPE_CODEC_SERVER_BODY_LIMIT": "1",
    }
    assert EnvelopeConfig.from_env(environ).storage_threshold == SIZES[text]
    assert ServerConfig.from_env(environ).max_body_bytes == SIZES[text]


@pytest.mark.parametrize("text", ["", "many", "1 TB", "1.5MiB", "MiB", "1Mi", "1M", True])
def test_what_is_no_size_is_told_alike(text: Any) -> None:
    for made, setting in ((library, "storage_threshold"), (ServerConfig, "body_limit")):
        with pytest.raises(ConfigurationError, match=f"{setting}: give a size"):
            made(**{setting: text})


@pytest.mark.parametrize("text", DURATIONS)
def test_a_duration_is_the_same_for_the_library_and_its_server(text: str) -> None:
    assert library(timeout=text).timeout == DURATIONS[text]
    assert ServerConfig(request_timeout=text).request_timeout == DURATIONS[text]


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "h", "1w"])
def test_what_is_no_duration_is_told_alike(text: str) -> None:
    for made, setting in ((library, "timeout"), (ServerConfig, "request_timeout")):
        with pytest.raises(ConfigurationError, match=f"{setting}: give a duration"):
            made(**{setting: text})


def test_numbers_are_what_they_were() -> None:
    assert library(timeout=5, storage_threshold=0).timeout == 5.0
    assert library(timeout="1e3", storage_threshold=2**20).timeout == 1_000.0
    for wrong in (float("inf"), "inf", "nan"):
        with pytest.raises(ConfigurationError, match="timeout"):
            library(timeout=wrong)


def test_a_single_text_is_a_list_of_one_everywhere() -> None:
    assert library(decrypt_keys="fakekms://old").decrypt_keys == ("fakekms://old",)
    assert library(backup_keys="fakekms://b").backup_keys == ("fakekms://b",)
    assert library(former_storage="file:///old?name=old").former_storage == ("file:///old?name=old",)
    assert library(legacy_codecs="a:b").legacy_codecs == ("a:b",)
    assert library(required="prod-*").required == ("prod-*",)
    assert ServerConfig(listen="127.0.0.1:1").listen == ("127.0.0.1:1",)
    listed = {"ENVELOPE_CODEC_KEY": "fakekms://k", "ENVELOPE_CODEC_DECRYPT_KEYS": "fakekms://a, fakekms://b,"}
    assert EnvelopeConfig.from_env(listed).decrypt_keys == ("fakekms://a", "fakekms://b")
    assert library(required="false").required is False


def test_the_command_line_takes_the_same_durations() -> None:
    from envelope_codec.cli.storage.command import _read_age

    assert _read_age("30D") == _read_age("30d") == 30 * 86_400.0
