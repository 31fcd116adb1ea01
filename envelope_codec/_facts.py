"""What a provider says about itself: facts, found without its SDK.

The facts of a provider are a `ProviderFacts` in the entry-point group ``envelope_codec.provider_facts``, under the
scheme of its key URIs. The core knows no provider by name: whatever it tells about one comes from here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Literal

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.observe import logger

FACTS_GROUP = "envelope_codec.provider_facts"

_KINDS = ("text", "seconds", "flag", "list")
_ERRORS = (KmsUnavailable, KeyDenied, InvalidCiphertext)
_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Meaning:
    """What a failure of a KMS means: which error is raised, and what to do about it.

    Attributes:
        error: the library's error: `KmsUnavailable`, `KeyDenied` or `InvalidCiphertext`.
        code: the stable reason code, such as ``throttled``: lower-case words with hyphens. It never changes.
        text: the text of the error. It is fixed: no key id, no endpoint, no word of the KMS.
        hint: what to do about it, for ``envelope-codec doctor``. Braces are replaced: ``{permission}``,
            ``{namespace}``, ``{purpose}``, and the names that `ProviderFacts.details` gives.
        lacks_permission: whether the KMS refused because a permission is missing.

    Raises:
        ValueError: ``error`` is another class, or ``code`` is not written like that.
    """

    error: type[EnvelopeError]
    code: str
    text: str
    hint: str = ""
    lacks_permission: bool = False

    def __post_init__(self) -> None:
        if self.error not in _ERRORS:
            raise ValueError(f"a call of a KMS fails with {', '.join(kind.__name__ for kind in _ERRORS)} alone")
        if not _CODE.fullmatch(self.code):
            raise ValueError(f"a reason code is lower-case words with hyphens, not {self.code!r}")

    def make_error(self, *, operation: str, key_id: str) -> EnvelopeError:
        """Make the error that has this meaning.

        Args:
            operation: ``wrap`` or ``unwrap``.
            key_id: the master key concerned.
        """
        error = self.error(self.text, operation=operation, key_id=key_id)
        error.code = self.code
        return error


@dataclass(frozen=True)
class Option:
    """An option of a key URI.

    Attributes:
        name: its name. The constructor of the master key has an argument of this name.
        meaning: what it means, for the documentation.
        kind: how its text is read: ``seconds`` gives a float, ``flag`` (true or false) a bool, ``list`` (separated by
            commas) a tuple, everything else the text itself.
        default: what holds without it, for the documentation.
        aliases: other names that are accepted for it. The documentation does not show them.
    """

    name: str
    meaning: str
    kind: Literal["text", "seconds", "flag", "list"] = "text"
    default: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"option {self.name} is of one of the kinds {', '.join(_KINDS)}, not {self.kind!r}")


@dataclass(frozen=True)
class BareKey:
    """A spelling of a key without a scheme.

    Attributes:
        prefix: how such a key begins, such as ``arn:``.
        uri: what is put before it to make a key URI, such as ``awskms:///``.
        name: what it is, for errors: "an AWS KMS ARN".
    """

    prefix: str
    uri: str
    name: str


@dataclass(frozen=True)
class ProviderFacts:
    """What the library tells about a provider. It is a constant in a module that imports no SDK.

    Attributes:
        scheme: the scheme of its key URIs.
        title: its name, for people: "AWS KMS".
        class_name: the class of its master keys, with its module: ``envelope_codec_aws.AwsKms``.
        uri: how a key URI is written: ``awskms:///ARN?option=value``.
        key_id: how a key id is written.
        requirement: what to give to pip so that its SDK is installed: ``temporal-envelope-codec[aws]``.
        tells_versions: whether a wrapped secret records the version of its key.
        options: the options of its key URIs.
        bare_key: a spelling without a scheme, if there is one.
        permissions: the least permission that each operation (``wrap``, ``unwrap``) needs.
        meanings: everything that its calls can fail with.
        details: values for the braces of hints, by operation and key id; for what depends on the key.
        keep_from_sharing: by key id, and context without purpose and id: a policy on one line by which a role that may
            wrap with that key makes no shared wrapping keys. Empty where the KMS has no such policy.
    """

    scheme: str
    title: str
    class_name: str
    uri: str
    key_id: str
    requirement: str = ""
    tells_versions: bool = False
    options: tuple[Option, ...] = ()
    bare_key: BareKey | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    meanings: tuple[Meaning, ...] = ()
    details: Callable[[str, str], Mapping[str, str]] = lambda operation, key_id: {}
    keep_from_sharing: Callable[[str, Mapping[str, str]], str] = lambda key_id, context: ""

    def __post_init__(self) -> None:
        if twice := _repeated(meaning.code for meaning in self.meanings):
            raise ValueError(f"two meanings of {self.scheme} share a reason code: {', '.join(twice)}")
        if twice := _repeated(name for option in self.options for name in (option.name, *option.aliases)):
            raise ValueError(f"two options of {self.scheme} share a name: {', '.join(twice)}")

    def find_meaning(self, error: EnvelopeError) -> Meaning | None:
        """Find the meaning that ``error`` was made from, by its code."""
        return next((meaning for meaning in self.meanings if meaning.code == error.code), None)


def _repeated(names: Iterable[str]) -> list[str]:
    """The names that are there more than once, in order."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


@cache
def installed_facts() -> Mapping[str, ProviderFacts]:
    """The facts of all installed providers, by scheme, in the order of the schemes.

    Facts that can't be loaded are left out, and so are those of a scheme that two packages describe. The log says so: a
    provider works without them.
    """
    found: dict[str, ProviderFacts] = {}
    points = {(point.name, point.value): point for point in metadata.entry_points(group=FACTS_GROUP)}
    rivals = _repeated(name for name, _ in points)
    for _, point in sorted(points.items()):
        if point.name in rivals:
            logger.warning("more than one installed package has facts of provider %s://: %s", point.name, point.value)
            continue
        try:
            facts = point.load()
        # Any class: what a package raises at its import is as it pleases.
        except Exception as error:
            logger.warning("the facts of provider %s:// can't be loaded: %s", point.name, type(error).__name__)
            continue
        if isinstance(facts, ProviderFacts) and facts.scheme == point.name:
            found[point.name] = facts
        else:
            logger.warning("the facts of provider %s:// are none: %s", point.name, point.value)
    return found


def facts_of(scheme: str) -> ProviderFacts | None:
    """The facts of the provider with this scheme, if it is installed and has any."""
    return installed_facts().get(scheme)


def facts_of_key(key: object) -> ProviderFacts | None:
    """Find the facts of the provider of a configured key.

    Args:
        key: a key URI, a key without a scheme, or a `MasterKey`, whose package is its provider's.
    """
    facts = installed_facts().values()
    if isinstance(key, str):
        scheme, separator, _ = key.partition("?")[0].partition("://")
        if separator:
            return facts_of(scheme)
        return next((one for one in facts if one.bare_key is not None and key.startswith(one.bare_key.prefix)), None)
    package = type(key).__module__.partition(".")[0]
    return next((one for one in facts if one.class_name.partition(".")[0] == package), None)


def bare_keys() -> tuple[BareKey, ...]:
    """The spellings of keys without a scheme that the installed providers take."""
    return tuple(facts.bare_key for facts in installed_facts().values() if facts.bare_key is not None)
