"""Settings: which master keys seal and open for which namespace, and for how long what is kept."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from envelope_codec._frames import frameless
from envelope_codec._grammar import Bytes, OneOrMore, OneOrMoreOrBool, Seconds, is_bool, listed
from envelope_codec.envelope import NAMESPACE, Purpose, record_head
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.keyring import Keyring, Limits
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.namespaces import check_patterns
from envelope_codec.kms import MasterKey, shown_key
from envelope_codec.observe import Observer
from envelope_codec.store import parse_store_url

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ENVIRONMENT_PREFIX = "ENVELOPE_CODEC_"
_SERVER = "server"


def _master_key(value: Any) -> Any:
    if not isinstance(value, (str, MasterKey)):
        raise ValueError("give a key URI, an AWS KMS ARN, a GCP CryptoKey name, or a MasterKey object")
    return value


def _legacy_codec(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"[\w.]+:[\w.]+", value):
            raise ValueError('a text names no codec: give "module:name"')
    elif not callable(getattr(value, "decode", None)) or isinstance(value, type):
        raise ValueError('give PayloadCodec objects, or texts "module:name"')
    return value


def _store(value: Any) -> Any:
    try:
        parse_store_url(value)
    except ConfigurationError as error:
        raise ValueError(str(error).removeprefix("storage: ")) from None
    return value


Key = Annotated[Any, BeforeValidator(_master_key)]
StorageUrl = Annotated[str, BeforeValidator(_store)]
LegacyCodec = Annotated[Any, BeforeValidator(_legacy_codec)]


class _MasterKeys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    backup_keys: Annotated[tuple[Key, ...], OneOrMore] = Field(
        default=(), description="Wrap the same wrapping keys, so that any one of them opens what was sealed."
    )
    decrypt_keys: Annotated[tuple[Key, ...], OneOrMore] = Field(
        default=(), description="Open only: master keys that sealed before, or that others seal with."
    )
    context: dict[str, str] = Field(
        default={}, description="Further names and values to bind to whatever is sealed, beside the namespace."
    )
    min_recipients: int = Field(
        default=1,
        ge=1,
        le=8,
        description="How many of `key` and `backup_keys` must wrap before a wrapping key may seal.",
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Without the options of key URIs, which may hold a credential by mistake."""
        for name, value in super().__repr_args__():
            if name == "key":
                value = shown_key(value)
            elif name in ("backup_keys", "decrypt_keys"):
                value = tuple(map(shown_key, value))
            yield name, value


class NamespaceKeys(_MasterKeys):
    """The master keys of one namespace, instead of the default ones."""

    key: Key = Field(description="Seals, and opens.")
    lease: Seconds | None = Field(
        default=None,
        gt=0,
        description="For so long a success vouches for one of these master keys. Default: the general `lease`.",
    )


Resolver = Callable[[SealingContext], "NamespaceKeys | MasterKey | str | None"]
"""Which master keys seal a payload: a key or `NamespaceKeys`, or None for those that its namespace has."""


class EnvelopeConfig(_MasterKeys):
    """Everything that can be set. Durations are seconds, or texts such as ``"90s"``, ``"5m"``, ``"24h"``, ``"1d"``.

    Raises:
        ConfigurationError: a setting is wrong; the text names it, and the fix.
    """

    key: Key | None = Field(
        None,
        description="Seals, and opens: an AWS KMS ARN (key or alias), a GCP CryptoKey name, a key URI, a `MasterKey`.",
    )
    namespaces: dict[str, NamespaceKeys] = Field(
        {},
        description="Master keys of single namespaces, instead of the ones above. By name, or by a pattern with `*` "
        "and `?` for those that no name fits; no two patterns may fit one namespace.",
    )
    required: Annotated[bool | tuple[str, ...], OneOrMoreOrBool] = Field(
        False,
        description="Namespaces, by name or pattern, that must be listed under `namespaces`: they are refused instead "
        "of getting the default key. `true`: all of them.",
    )
    resolver: Any = Field(
        None,
        description="A function, set in code: from a `SealingContext` to the keys that seal there, or None for the "
        "namespace's usual ones. Opening goes by what is configured, so list those keys in `decrypt_keys` as well.",
    )
    namespace_aliases: dict[str, str] = Field(
        {}, description="Old name = new name: what was sealed for the old may be opened in the new. Reading only."
    )
    wrapping: Literal["wrapping-key", "direct"] = Field(
        "wrapping-key", description='`"direct"`: the KMS wraps every data key itself, one call for each payload.'
    )
    verify_wraps: bool = Field(
        True,
        description="Open each new wrapping key once before it seals. Turn it off for roles that may only encrypt.",
    )
    sealing: bool = Field(
        True, description="`false`: open envelopes, but write as if there were no codec. The first step of a rollout."
    )
    require_encryption: bool = Field(
        False,
        description="Refuse payloads that are no envelopes, other than what Temporal itself writes in clear and what "
        "`legacy_codecs` open. Turn it on once a namespace holds nothing else.",
    )
    legacy_codecs: Annotated[tuple[LegacyCodec, ...], OneOrMore] = Field(
        (),
        repr=False,
        description="Codecs that open what was sealed before, and seal nothing: `PayloadCodec` objects, or "
        '`"module:name"` of one or of what makes one. Each is tried on what is no envelope; one that does not '
        "authenticate has no place here.",
    )
    headers: bool = Field(True, description="Seal headers as well.")
    storage: StorageUrl | None = Field(
        None,
        repr=False,
        description="URL of a datastore of your own: sealed payloads go there, and sealed references to Temporal. See "
        "[storage](storage.md).",
    )
    storage_threshold: Bytes = Field(
        262_144, ge=0, description="Payloads of so many bytes, sealed, go to `storage`. `0`: all of them."
    )
    former_storage: Annotated[tuple[StorageUrl, ...], OneOrMore] = Field(
        (), repr=False, description="URLs of datastores that are only read from: what was `storage` before."
    )
    max_age: Seconds = Field(86_400.0, gt=0, description="A wrapping key seals no longer than this.")
    max_payloads: int = Field(2**20, ge=1, le=2**32, description="Nor more payloads than this.")
    cache_ttl: Seconds = Field(86_400.0, gt=0, description="An unwrapped wrapping key is kept for opening so long.")
    cache_size: int = Field(50_000, ge=1, description="How many unwrapped wrapping keys are kept for opening.")
    lease: Seconds = Field(
        300.0,
        gt=0,
        description="For so long a successful unwrap vouches for its master key: revocation takes effect by then.",
    )
    outage_grace: Seconds = Field(
        3_600.0, ge=0, description="While the KMS can't be reached, keys at hand serve so much longer. `0` for none."
    )
    refusal_ttl: Seconds = Field(
        5.0, ge=0, description="What could not be opened is refused for so long without asking the KMS again."
    )
    timeout: Seconds = Field(30.0, gt=0, description="A caller waits so long for a key, retries included.")
    activity_timeout: Seconds = Field(
        600.0, gt=0, description="So long where input, heartbeat details or result of an activity are opened."
    )
    startup_jitter: Seconds = Field(
        1.0,
        ge=0,
        description="A worker waits up to so long before its process's first KMS call, so a deploy is no stampede.",
    )

    @frameless
    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigurationError(_explain(error, type(self))) from None

    @classmethod
    @frameless
    def from_file(cls, path: str | Path) -> Self:
        """The settings in a TOML file, which has one entry for each field of this class.

        A table ``[server]`` beside them is the codec server's, and not looked at here.
        """
        settings = read_toml(path)
        settings.pop(_SERVER, None)
        try:
            return cls(**settings)
        except ConfigurationError as error:
            raise ConfigurationError(f"{str(path)!r}: {error}") from None

    @classmethod
    @frameless
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings in environment variables: ``ENVELOPE_CODEC_`` and a field's name in capitals.

        Lists are separated by commas, maps are JSON objects. ``ENVELOPE_CODEC_FILE`` names a TOML file to begin with;
        the other variables override it. Those that begin with ``ENVELOPE_CODEC_SERVER_`` are the codec server's.
        """
        variables = os.environ if environ is None else environ
        settings: dict[str, Any] = {}
        for variable, text in variables.items():
            if not variable.startswith(_ENVIRONMENT_PREFIX):
                continue
            name = variable.removeprefix(_ENVIRONMENT_PREFIX).lower()
            if name == "file" or name.startswith(f"{_SERVER}_"):
                continue
            field = cls.model_fields.get(name)
            if field is None:
                raise ConfigurationError(f"{variable}: unknown setting{_suggest(name, cls)}")
            settings[name] = _from_text(variable, text, field.annotation)
        file = variables.get(f"{_ENVIRONMENT_PREFIX}FILE")
        if file:
            return cls(**{**_declared(cls.from_file(file)), **settings})
        return cls(**settings)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key is None:
            if not self.namespaces:
                raise ValueError("key: missing; give a key, or one for each namespace under namespaces")
            for name in ("backup_keys", "decrypt_keys", "context"):
                if getattr(self, name):
                    raise ValueError(f"{name}: goes with a default key, and there is none; set key as well")
        _check_keys("", self)
        if "" in self.namespaces:
            raise ValueError("namespaces: a namespace has a name; the keys of those that are not listed stand above")
        for name, keys in self.namespaces.items():
            _check_keys(f"namespaces.{name}.", keys)
        check_patterns(self.namespaces, () if isinstance(self.required, bool) else self.required)
        if self.required is True and self.key is not None:
            raise ValueError("required: true leaves nothing for the default key to do; take out key, or list patterns")
        if self.resolver is not None and not callable(self.resolver):
            raise ValueError("resolver: give a function, from a SealingContext to keys or None")
        if self.storage is None and "storage_threshold" in self.model_fields_set:
            raise ValueError("storage_threshold: goes with storage; set that as well")
        if self.require_encryption and not self.sealing:
            raise ValueError("require_encryption: needs sealing, or what is written here could not be read here")
        for old, new in self.namespace_aliases.items():
            if old == new or new in self.namespace_aliases:
                raise ValueError(f"namespace_aliases: {old!r} must name the namespace that is in use, directly")
        return self

    @frameless
    def keyring(self, *, observer: Observer | None = None) -> Keyring:
        """A new keyring with these settings. It opens no connection yet, and closes what it opens.

        Raises:
            ConfigurationError: a key URI is wrong, or its provider is not installed.
        """
        key_sets = KeySets(self)
        limits = {name: getattr(self, name) for name in Limits.__dataclass_fields__}
        return Keyring(
            key_sets.sealing,
            opening_key_sets=key_sets.opening,
            resolve=key_sets.resolved if self.resolver is not None else None,
            direct=self.wrapping == "direct",
            verify_wraps=self.verify_wraps,
            limits=Limits(**limits),
            observer=observer,
            owned=key_sets.built,
        )


def read_toml(path: str | Path) -> dict[str, Any]:
    """What is in a TOML file; `ConfigurationError` if it can't be read or is none."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"can't read {str(path)!r}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{str(path)!r} is not valid TOML: {error}") from None


def _check_keys(place: str, keys: NamespaceKeys | EnvelopeConfig) -> None:
    listed = [keys.key, *keys.backup_keys, *keys.decrypt_keys]
    texts = [key if isinstance(key, str) else id(key) for key in listed if key is not None]
    if len(set(texts)) != len(texts):
        raise ValueError(f"{place}decrypt_keys: lists a key twice, or one that key or backup_keys lists already")
    if len(keys.backup_keys) > 7:
        raise ValueError(f"{place}backup_keys: 7 at most")
    if keys.min_recipients > 1 + len(keys.backup_keys):
        raise ValueError(f"{place}min_recipients: more than key and backup_keys together")
    if NAMESPACE in keys.context:
        raise ValueError(f"{place}context: {NAMESPACE!r} is set by the codec")
    try:
        record_head(Purpose.WRAPPING_KEY, 0, {**keys.context, NAMESPACE: "n"})
    except (EnvelopeError, UnicodeEncodeError) as error:
        raise ValueError(f"{place}context: {error}") from None


def _declared(config: EnvelopeConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.model_fields_set}


def _from_text(variable: str, text: str, annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin is UnionType and not is_bool(text):
        origin = get_origin(get_args(annotation)[1])
    if origin is tuple:
        return listed(text)
    if origin is dict:
        try:
            return json.loads(text)
        except ValueError:
            raise ConfigurationError(f"{variable}: give a JSON object") from None
    return text


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            inner = NamespaceKeys if place.startswith("namespaces.") else model
            message = f"unknown setting{_suggest(str(problem['loc'][-1]), inner)}"
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)


def _suggest(name: str, model: type[BaseModel]) -> str:
    near = difflib.get_close_matches(name, model.model_fields, 1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(model.model_fields)})"
