"""The URL of a place in an object store: a host or bucket, a path, and options."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import check_url, is_exposed


class BucketUrl(NamedTuple):
    """A URL, taken apart.

    Attributes:
        place: what stands where a URL has its host.
        path: without slashes at its ends.
        options: by name.
    """

    place: str
    path: str
    options: dict[str, str]

    @property
    def endpoint(self) -> str | None:
        """The server that the URL names, without a slash at its end; None for the usual one."""
        return self.options.get("endpoint")

    def __repr__(self) -> str:
        return f"BucketUrl({self.place!r})"


def parse_bucket_url(url: str, form: str, known: frozenset[str], setting: str) -> BucketUrl:
    """Take the URL apart.

    Args:
        url: as it was given, without the option ``name``.
        form: how such a URL is spelled, for texts of errors.
        known: names of its options.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: it is no such URL, it holds credentials, an option is not known or has no value, or the
            endpoint is none, or would be sent credentials in clear. The text repeats no value.
    """
    parts = urlsplit(url)
    if not parts.netloc or set("@:[]") & set(parts.netloc) or parts.fragment:
        raise ConfigurationError(f"{setting}: the URL is {form}; credentials are never in it")
    options: dict[str, str] = {}
    for option, value in parse_qsl(parts.query, keep_blank_values=True):
        if option not in known or option in options or not value:
            names = ", ".join(sorted(known | {"name"}))
            raise ConfigurationError(
                f"{setting}: {parts.scheme}:// has no option {show_value(option)}, or it is empty or there twice "
                f"(known: {names})"
            )
        options[option] = value
    if "endpoint" in options:
        options["endpoint"] = _check_endpoint(options["endpoint"], setting)
    return BucketUrl(parts.netloc, unquote(parts.path).strip("/"), options)


def _check_endpoint(endpoint: str, setting: str) -> str:
    try:
        checked = check_url("endpoint", endpoint, path=True)
    except ConfigurationError:  # its text repeats the endpoint
        raise ConfigurationError(
            f"{setting}: endpoint must be https://HOST[:PORT], or http:// on this machine, and must "
            "not hold credentials"
        ) from None
    if is_exposed(checked):
        raise ConfigurationError(
            f"{setting}: endpoint must be https://…; http:// is for this machine alone, for credentials would leave it "
            "in clear"
        )
    scheme, _, rest = checked.partition(":")
    return f"{scheme.lower()}:{rest}"  # clients ask whether it is http
