"""The URL of a place in an object store."""

from __future__ import annotations

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.datastore.bucket_url import BucketUrl, parse_bucket_url

FORM, KNOWN = "gs://BUCKET/PREFIX", frozenset(("endpoint", "credentials"))


def parsed(url: str) -> BucketUrl:
    return parse_bucket_url(url, FORM, KNOWN, "storage")


def test_a_url_is_taken_apart() -> None:
    assert parsed("gs://bucket") == ("bucket", "", {})
    assert parsed("gs://a.b_c/p%C3%A4y/loads/?credentials=/a%20b") == ("a.b_c", "päy/loads", {"credentials": "/a b"})
    assert parsed("gs://bucket/?endpoint=http://127.0.0.1:1/").endpoint == "http://127.0.0.1:1"
    assert parsed("gs://bucket?endpoint=HTTP://LocalHost:1").endpoint == "http://LocalHost:1"  # clients look for http:
    assert parsed("gs://bucket").endpoint is None
    assert "sesame" not in repr(parsed("gs://bucket/sesame?credentials=sesame"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs:///prefix", FORM),
        ("gs://user:sesame@bucket", "credentials are never in it"),
        ("gs://bucket:80", FORM),
        ("gs://[::1]/x", FORM),
        ("gs://bucket#part", FORM),
        ("gs://bucket?key=sesame", r"no option 'key'.*known: credentials, endpoint, name"),
        ("gs://bucket?credentials=", "it is empty or there twice"),
        ("gs://bucket?credentials=a&credentials=sesame", "it is empty or there twice"),
        ("gs://bucket?endpoint=sesame.example", "must be https://HOST"),
        ("gs://bucket?endpoint=https://user:sesame@storage.example", "must not hold credentials"),
        ("gs://bucket?endpoint=http://storage.example", "must be https://…"),
        ("gs://bucket?endpoint=http://127.0.0.1.example:80", "must be https://…"),
    ],
)
def test_what_is_no_such_url_is_told(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parsed(url)
    assert "sesame" not in str(caught.value)
