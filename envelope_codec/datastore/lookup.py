"""The lookup of datastores by the scheme of a URL, in an entry-point group.

A store of payloads and a keystore are found alike. Each has a group, extras and a setting of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from envelope_codec._schemes import suggest_scheme
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value


class Lookup(NamedTuple):
    """Where datastores of one sort are found.

    Attributes:
        group: of entry points, whose names are schemes, and which load to callables that take a URL.
        setting: that the URL is given in, for texts of errors.
        noun: what is looked up, for texts of errors.
        extras: of this distribution, by scheme.
    """

    group: str
    setting: str
    noun: str
    extras: Mapping[str, str]

    def options(self, url: str) -> list[tuple[str, str]]:
        """Return the options of the URL.

        Raises:
            ConfigurationError: it is no such URL. The text does not repeat it, for it may hold a password.
        """
        if not isinstance(url, str) or "://" not in url or not url.isprintable() or url != url.strip():
            raise ConfigurationError(
                f"{self.setting}: give a URL, such as s3://bucket/prefix or postgresql+psycopg://host/db"
            )
        try:
            query = urlsplit(url).query
            return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            raise ConfigurationError(f"{self.setting}: the URL is malformed") from None

    def open(self, url: str) -> Any:
        """Make what the URL names. Asks no network.

        Raises:
            ConfigurationError: the scheme is unknown, an extra is missing, or the URL is malformed. The text shows no
                credentials.
        """
        scheme = scheme_of(url)
        provider = self._provider(scheme)
        try:
            return provider(url)
        except ModuleNotFoundError as error:  # of a database's driver, for instance
            raise self._lacking(scheme, error) from None

    def _provider(self, scheme: str) -> Any:
        points = metadata.entry_points(group=self.group)
        matches = [point for point in points if point.name == scheme]
        if not matches:
            known = sorted({point.name for point in points})
            installed, likely = ", ".join(known) or "none", suggest_scheme(scheme, known)
            raise ConfigurationError(
                f"{self.setting}: no {self.noun} for URL scheme {show_value(scheme)} (installed: {installed}){likely}"
            )
        if len({point.value for point in matches}) > 1:
            raise ConfigurationError(
                f"{self.setting}: more than one installed {self.noun} claims URL scheme {show_value(scheme)}"
            )
        point = matches[0]
        try:
            import_module(point.module)
            return point.load()
        except ModuleNotFoundError as error:
            raise self._lacking(scheme, error) from error
        # Any class: what a package raises at its import is as it pleases.
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ConfigurationError(
                f"{self.setting}: the {self.noun} for {scheme}:// can't be loaded: {said}"
            ) from error

    def _lacking(self, scheme: str, error: ModuleNotFoundError) -> ConfigurationError:
        extra = self.extras.get(scheme)
        fix = f'pip install "temporal-envelope-codec[{extra}]"' if extra else f"install {error.name!r}"
        return ConfigurationError(f"{self.setting}: {scheme}:// needs a missing package, {error.name}: {fix}")


def scheme_of(url: str) -> str:
    """Return the scheme of the URL up to a ``+``, which names the sort of datastore."""
    return url.partition("://")[0].partition("+")[0].lower()
