"""Names of CryptoKeys: the one spelling that is a key id."""

from __future__ import annotations

import re

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

SHAPE = "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"

# Project: an id (of 6 to 30 characters in Google's cloud, shorter on a test server), with its domain before it where it
# is domain-scoped, or a project number. Key ring and key: what the API takes for key_ring_id and crypto_key_id.
# https://cloud.google.com/resource-manager/docs/creating-managing-projects
# https://cloud.google.com/kms/docs/resource-hierarchy#retrieve_resource_id
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PROJECT_ID = rf"(?:{_LABEL}(?:\.{_LABEL})+:)?[a-z](?:[a-z0-9-]{{0,28}}[a-z0-9])?"
_PROJECT_NUMBER = r"[1-9][0-9]{0,18}"
_NAME = re.compile(
    rf"projects/(?P<project>{_PROJECT_ID}|{_PROJECT_NUMBER})"
    r"(?P<rest>/locations/[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"/keyRings/[a-zA-Z0-9_-]{1,63}"
    r"/cryptoKeys/[a-zA-Z0-9_-]{1,63})"
)
_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_VERSIONS = "/cryptoKeyVersions/"


def check_name(name: str) -> str:
    """Check that ``name`` is the resource name of a CryptoKey, and give it back.

    A project has two spellings, its id and its number. Both are taken and they are two key ids: use the same one
    everywhere.

    Raises:
        ConfigurationError: it is not; the text says what to change.
    """
    key, separator, _ = name.partition(_VERSIONS)
    if separator and _NAME.fullmatch(key):
        raise ConfigurationError(
            f"GCP KMS key {show_value(name)} names a key version: give the key, {show_value(key)}. "
            "The KMS itself encrypts with the key's primary version and finds the version to decrypt with."
        )
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"GCP KMS key {show_value(name)} is not a CryptoKey's name: it must be {SHAPE}")
    return name


def find_version(name: str, reply: str) -> str | None:
    """Find the version number at the end of ``reply``, a version's name. None if it is no version of the key ``name``.

    Where one of the two has the project's number and the other its id, the projects count as the same.
    """
    key, _, version = reply.partition(_VERSIONS)
    ours, theirs = _NAME.fullmatch(name), _NAME.fullmatch(key)
    if not (ours and theirs and _VERSION.fullmatch(version) and ours["rest"] == theirs["rest"]):
        return None
    projects = {ours["project"], theirs["project"]}
    if len(projects) == 2 and sum(project.isdigit() for project in projects) != 1:
        return None
    return version


def location_of(name: str) -> str:
    """Return the location of the key ``name``."""
    return name.split("/")[3]


def is_version(text: str) -> bool:
    """Whether ``text`` is a version number as `find_version` returns it."""
    return _VERSION.fullmatch(text) is not None
