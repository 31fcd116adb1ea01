"""Settings: which master keys seal and open for which namespace, and the times and bounds of keys."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self, Unpack

from envelope_codec._frames import frameless
from envelope_codec._grammar import Bytes, OneOrMore, OneOrMoreOrBool, Seconds, is_bool, listed
from envelope_codec._settings import ConfigSettings, NamespaceSettings
from envelope_codec.envelope import NAMESPACE, Purpose, record_head
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.foreign_keys import MAX_FOREIGN_ID
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.namespaces import check_patterns
from envelope_codec.keystore import Keystore, KeystoreUrl, parse_keystore_url
from envelope_codec.keystore_thread import KeystoreThread
from envelope_codec.kms import MasterKey, show_key
from envelope_codec.observe import Observer, tell_observer
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


def _keystore(value: Any) -> Any:
    if not isinstance(value, str):
        if not isinstance(value, Keystore):
            raise ValueError("give a URL, or a Keystore object")
        return value
    try:
        parse_keystore_url(value)
    except ConfigurationError as error:
        raise ValueError(str(error).removeprefix("keystore: ")) from None
    return value


Key = Annotated[Any, BeforeValidator(_master_key)]
StorageUrl = Annotated[str, BeforeValidator(_store)]
AnyKeystore = Annotated[Any, BeforeValidator(_keystore)]
LegacyCodec = Annotated[Any, BeforeValidator(_legacy_codec)]


class _MasterKeys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    backup_keys: Annotated[tuple[Key, ...], OneOrMore] = Field(
        (),
        description="Master keys that wrap the same wrapping keys as `key`, so that any one of them opens what was "
        "sealed.",
    )
    decrypt_keys: Annotated[tuple[Key, ...], OneOrMore] = Field(
        (), description="Master keys that open only: those that sealed before, or that others seal with."
    )
    context: dict[str, str] = Field(
        default={}, description="Further names and values to bind to whatever is sealed, beside the namespace."
    )
    temporal_proxy_keys: dict[str, Annotated[tuple[Key, ...], OneOrMore]] = Field(
        default={},
        description="Master keys of Temporal's proxy, as its configuration spells them, each with the key that opens "
        "what it sealed, or several. Nothing else that it sealed is opened. See "
        "[leaving the proxy](adoption.md#from-temporals-proxy).",
    )
    min_recipients: int = Field(
        default=1,
        ge=1,
        le=8,
        description="How many of `key` and `backup_keys` must wrap before a wrapping key may seal.",
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Leave out the options of key URIs, which may hold a credential by mistake."""
        for name, value in super().__repr_args__():
            if name == "key":
                value = show_key(value)
            elif name in ("backup_keys", "decrypt_keys"):
                value = tuple(map(show_key, value))
            elif name == "temporal_proxy_keys":
                value = {show_key(uri): tuple(map(show_key, keys)) for uri, keys in value.items()}
            yield name, value


class NamespaceKeys(_MasterKeys):
    """The master keys of one namespace, instead of the default ones."""

    key: Key = Field(description="The master key that seals, and opens.")
    lease: Seconds | None = Field(
        default=None,
        gt=0,
        description="How long a successful unwrap vouches for one of these master keys. Default: the general `lease`.",
    )

    if TYPE_CHECKING:  # pydantic's own: type checkers do not see the defaults above

        def __init__(self, **settings: Unpack[NamespaceSettings]) -> None: ...


Resolver = Callable[[SealingContext], "NamespaceKeys | MasterKey | str | None"]
"""Which master keys seal a payload: a key or `NamespaceKeys`, or None for those that its namespace has."""


class EnvelopeConfig(_MasterKeys):
    """Everything that can be set. Durations are seconds, or texts such as ``"90s"``, ``"5m"``, ``"24h"``, ``"1d"``.

    Raises:
        ConfigurationError: a setting is wrong; the text names it, and the fix.
    """

    key: Key | None = Field(
        None,
        description="The master key that seals, and opens: an AWS KMS ARN (key or alias), a GCP CryptoKey name, a key "
        "URI, or a `MasterKey`.",
    )
    namespaces: dict[str, NamespaceKeys] = Field(
        {},
        description="Master keys of single namespaces, instead of the default `key`, `backup_keys` and "
        "`decrypt_keys`. By name, or by a pattern with `*` and `?` for namespaces that are not listed "
        "by name. No two patterns may fit one namespace.",
    )
    required: Annotated[bool | tuple[str, ...], OneOrMoreOrBool] = Field(
        False,
        description="Namespaces, by name or pattern, that must be listed under `namespaces`. If they are not, they are "
        "refused, and do not get the default key. `true`: all namespaces.",
    )
    resolver: Any = Field(
        None,
        description="A function from a `SealingContext` to the keys that seal there, or None for the namespace's usual "
        "keys. It can be set in code only. Opening goes by the other settings, so list those keys in "
        "`decrypt_keys` too.",
    )
    namespace_aliases: dict[str, str] = Field(
        {},
        description="Old names of namespaces, each with its new name: what was sealed for the old one may be opened in "
        "the new one. For reading only.",
    )
    wrapping: Literal["wrapping-key", "direct"] = Field(
        "wrapping-key",
        description='`"wrapping-key"`: the KMS wraps wrapping keys, and these wrap the data keys of many payloads. '
        '`"direct"`: the KMS wraps every data key itself, with one call for each payload.',
    )
    verify_wraps: bool = Field(
        True,
        description="Whether each new wrapping key is unwrapped once before it seals. Turn it off for roles that "
        "may only encrypt.",
    )
    sealing: bool = Field(
        True,
        description="Whether payloads are sealed. `false`: envelopes are opened, but payloads are written as if there "
        "were no codec. The first step of a rollout.",
    )
    require_encryption: bool = Field(
        False,
        description="Whether payloads that are no envelopes are refused. Exempt are those that Temporal itself "
        "writes in clear, and those that `legacy_codecs` or `temporal_proxy_keys` open. Turn it on once a namespace "
        "holds no other payloads.",
    )
    legacy_codecs: Annotated[tuple[LegacyCodec, ...], OneOrMore] = Field(
        (),
        repr=False,
        description="Codecs that open what was sealed before this library, and seal nothing: `PayloadCodec` "
        'objects, or `"module:name"` of such an object or of a function that makes one. Each is tried '
        "on payloads that are no envelopes. Do not list a codec that does not authenticate.",
    )
    headers: bool = Field(True, description="Whether headers are sealed as well.")
    grpc_compression: Literal["none", "gzip", "client"] = Field(
        "none",
        description="Compression of gRPC messages while payloads are sealed. "
        '`"none"`: none, where the SDK\'s default is gzip. `"gzip"`: gzip, unless the client is given `NONE`. '
        '`"client"`: what the client is given. '
        "See [gRPC compression](#grpc-compression).",
    )
    compression: Literal["none", "zstd"] = Field(
        "none",
        description='`"zstd"`: payloads are compressed before they are sealed, where that saves 5 %. Lengths then tell '
        "how well content compresses: see [when to leave it off](composition.md#compression). Compressed payloads are "
        "opened in any case.",
    )
    compression_min_size: Bytes = Field(512, ge=0, description="Payloads of fewer bytes are not compressed.")
    max_payload: Bytes = Field(
        2**26,
        description="The largest payload that may come out of compression, from 64 KiB on. One that is larger is "
        "sealed as it is, and is refused where it was sealed compressed. Raise it for those that read before those "
        "that write.",
    )
    storage: StorageUrl | None = Field(
        None,
        repr=False,
        description="URL of a datastore of your own. Large sealed payloads go there, and Temporal gets sealed "
        "references to them. See [storage](storage.md).",
    )
    storage_threshold: Bytes = Field(
        262_144, ge=0, description="Sealed payloads of at least this many bytes go to `storage`. `0`: all payloads."
    )
    storage_query_threshold: Bytes = Field(
        524_288,
        ge=0,
        description="Sealed answers to queries go to `storage` from this size on only, and pass through Temporal below "
        "it, which does not keep them. `0`: they go there like all payloads.",
    )
    storage_replay_memory: Bytes = Field(
        67_108_864,
        ge=0,
        description="How many bytes a process may hold of sealed payloads that replays repeat or local activities are "
        "given, instead of storing them. `0`: they are stored each time.",
    )
    former_storage: Annotated[tuple[StorageUrl, ...], OneOrMore] = Field(
        (), repr=False, description="URLs of datastores that were `storage` before, and are only read from."
    )
    keystore: AnyKeystore | None = Field(
        None,
        repr=False,
        description="URL of a keystore, or a `Keystore`: it gets each new wrapping key's record, and what was sealed "
        "opens with the master keys that are added there later. See [keystore](keystore.md).",
    )
    keystore_mode: Literal["required", "best_effort"] = Field(
        "required",
        description='`"required"`: nothing is sealed under a wrapping key before `keystore` has its record. '
        '`"best_effort"`: it is sealed all the same, and the record follows when the keystore answers.',
    )
    share_wrapping_keys: bool = Field(
        False,
        description="Whether wrapping keys are shared: a process seals with the one that another has just put into "
        "`keystore`, instead of making its own. See [sharing](keystore.md#sharing).",
    )
    keystore_auth: Annotated[tuple[str, ...], OneOrMore] = Field(
        (),
        max_length=64,
        description="Ids of the records by which shared wrapping keys are known to be genuine, as "
        "`envelope-codec keystore init` prints them: one for each namespace, two during a change.",
    )
    max_age: Seconds = Field(86_400.0, gt=0, description="How long a wrapping key seals at most.")
    max_payloads: int = Field(2**20, ge=1, le=2**32, description="How many payloads a wrapping key seals at most.")
    cache_ttl: Seconds = Field(86_400.0, gt=0, description="How long an unwrapped wrapping key is kept for opening.")
    cache_size: int = Field(50_000, ge=1, description="How many unwrapped wrapping keys are kept for opening at most.")
    lease: Seconds = Field(
        300.0,
        gt=0,
        description="How long a successful unwrap vouches for its master key. A revocation takes effect within "
        "this time, if the KMS can be reached.",
    )
    outage_grace: Seconds = Field(
        3_600.0,
        ge=0,
        description="How much longer than the `lease` keys at hand serve while the KMS can't be reached, and than "
        "`max_age` and `max_payloads` allow while a required `keystore` can't take the next key. `0`: no longer.",
    )
    refusal_ttl: Seconds = Field(
        5.0, ge=0, description="How long a refusal, to wrap or to unwrap, is repeated without asking the KMS again."
    )
    timeout: Seconds = Field(30.0, gt=0, description="How long a caller waits for a key, retries included.")
    activity_timeout: Seconds = Field(
        600.0,
        gt=0,
        description="How long a caller waits for a key that opens input, heartbeat details or result of an activity.",
    )
    startup_jitter: Seconds = Field(
        1.0,
        ge=0,
        description="How long a worker waits at most before the first KMS call of its process. The wait is random, so "
        "that the workers of a deploy do not ask at the same moment.",
    )
    metrics_key_ids: Literal["plain", "hashed"] = Field(
        "plain",
        description='How metrics and spans name master keys. `"plain"`: by their key ids, which hold account numbers, '
        'project names or addresses. `"hashed"`: by 12 hex digits of a hash. See [key ids](metrics.md#key-ids).',
    )

    @frameless
    def __init__(self, **settings: Unpack[ConfigSettings]) -> None:
        try:
            super().__init__(**dict[str, Any](settings))
        except ValidationError as error:
            raise ConfigurationError(_explain(error, type(self))) from None

    @classmethod
    @frameless
    def from_file(cls, path: str | Path) -> Self:
        """Read the settings in a TOML file. Its entries have the names of this class's fields.

        A table ``[server]`` beside them is the codec server's, and is skipped.
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
        """Read the settings in environment variables: ``ENVELOPE_CODEC_`` and a field's name in capitals.

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

    @field_validator("max_payload")
    @classmethod
    def _no_number_of_payloads(cls, size: int) -> int:
        """Refuse a size so small that it is most likely meant for `max_payloads`."""
        if not 2**16 <= size < 2**32:
            raise ValueError(
                "give at least 64KiB, and less than 4GiB; how many payloads a wrapping key seals is max_payloads"
            )
        return size

    @field_validator("keystore_auth")
    @classmethod
    def _ids(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch("[0-9a-f]{64}", one) for one in ids):
            raise ValueError("give ids as `envelope-codec keystore init` prints them: 64 hex digits in lower case")
        if len(set(ids)) != len(ids):
            raise ValueError("lists an id twice")
        return ids

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key is None:
            if not self.namespaces:
                raise ValueError("key: missing; give a key, or one for each namespace under namespaces")
            for name in ("backup_keys", "decrypt_keys", "context", "temporal_proxy_keys"):
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
        for name in ("storage_threshold", "storage_query_threshold", "storage_replay_memory"):
            if self.storage is None and name in self.model_fields_set:
                raise ValueError(f"{name}: goes with storage; set that as well")
        if self.keystore is None and "keystore_mode" in self.model_fields_set:
            raise ValueError("keystore_mode: goes with keystore; set that as well")
        _check_sharing(self)
        if self.require_encryption and not self.sealing:
            raise ValueError("require_encryption: needs sealing, or what is written here could not be read here")
        for old, new in self.namespace_aliases.items():
            if old == new or new in self.namespace_aliases:
                raise ValueError(f"namespace_aliases: {old!r} must name the namespace that is in use, directly")
        return self

    @property
    def opens_proxied(self) -> bool:
        """Whether what Temporal's proxy sealed is opened in any namespace."""
        return any(keys.temporal_proxy_keys for keys in (self, *self.namespaces.values()))

    @frameless
    def keyring(self, *, observer: Observer | None = None) -> Keyring:
        """Make a keyring with these settings. It opens no connection yet, and `Keyring.close` closes what it opens.

        Raises:
            ConfigurationError: a key URI or the keystore's URL is wrong, or its provider is not installed.
        """
        if observer is not None:
            tell_observer(observer, "name_keys", self.metrics_key_ids)
        key_sets = KeySets(self)
        keystore = KeystoreUrl(self.keystore) if isinstance(self.keystore, str) else self.keystore
        limits = {name: getattr(self, name) for name in Limits.__dataclass_fields__}
        return Keyring(
            key_sets.sealing,
            opening_key_sets=key_sets.opening,
            resolve=key_sets.resolve if self.resolver is not None else None,
            direct=self.wrapping == "direct",
            verify_wraps=self.verify_wraps,
            limits=Limits(**limits),
            observer=observer,
            owned=key_sets.built,
            keystore=KeystoreThread(keystore) if keystore is not None else None,
            publishing_required=self.keystore_mode == "required",
            keystore_auth=[bytes.fromhex(one) for one in self.keystore_auth] if self.share_wrapping_keys else (),
        )


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return what is in a TOML file.

    Raises:
        ConfigurationError: it can't be read, or it is no TOML file.
    """
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
    for uri, masters in keys.temporal_proxy_keys.items():
        if not 0 < len(masters) <= 8:
            raise ValueError(f"{place}temporal_proxy_keys: give one key for each name of the proxy's, or up to 8")
        if not uri or len(uri.encode()) > MAX_FOREIGN_ID:
            raise ValueError(f"{place}temporal_proxy_keys: a name has 1 to {MAX_FOREIGN_ID:,} bytes")
    if NAMESPACE in keys.context:
        raise ValueError(f"{place}context: {NAMESPACE!r} is set by the codec")
    try:
        record_head(Purpose.WRAPPING_KEY, 0, {**keys.context, NAMESPACE: "n"})
    except (EnvelopeError, UnicodeEncodeError) as error:
        raise ValueError(f"{place}context: {error}") from None


def _check_sharing(config: EnvelopeConfig) -> None:
    for name in ("share_wrapping_keys", "keystore_auth"):
        if config.keystore is None and getattr(config, name):
            raise ValueError(f"{name}: goes with keystore; set that as well")
    if not config.share_wrapping_keys:
        return
    if not config.keystore_auth:
        raise ValueError("share_wrapping_keys: needs keystore_auth; `envelope-codec keystore init` makes its record")
    if config.wrapping == "direct":
        raise ValueError("share_wrapping_keys: direct mode has no wrapping keys; take out one of the two")


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
