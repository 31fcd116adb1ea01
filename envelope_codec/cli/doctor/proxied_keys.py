"""The findings about the keys of Temporal's proxy: whether they open what the newest histories hold of its payloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from envelope_codec._facts import facts_of_key
from envelope_codec.cli.doctor.finding import Code, Finding, problem
from envelope_codec.cli.doctor.hint import find_meaning, hint
from envelope_codec.cli.doctor.survey import Survey
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, KeyDenied, KmsUnavailable, MalformedEnvelope
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.key_sets import foreign_master, keys_of_entry
from envelope_codec.keys.keyset import ForeignMaster
from envelope_codec.keys.namespaces import Entries
from envelope_codec.kms import show_key
from envelope_codec.temporal.proxied_payloads import read_wrapped_key


class _Listed(NamedTuple):
    """A name of the proxy's, as a namespace lists it.

    Attributes:
        setting: that lists it.
        namespace: in which it was met.
        name: what the proxy calls the key.
        keys: that open what it sealed.
        wrapped: a data key that it had wrapped; None where no history has any.
    """

    setting: str
    namespace: str
    name: str
    keys: tuple[object, ...]
    wrapped: bytes | None


async def proxied_key_findings(
    config: EnvelopeConfig,
    namespaces: Sequence[str],
    surveys: Mapping[str, Survey],
    masters: MasterKeys,
    calls: Calls,
    deadline: Deadline,
) -> list[Finding]:
    """Try each key with a data key from the histories, where there is one. End at ``deadline`` at the latest."""
    listed = list(_list(config, namespaces, surveys))
    answers = await calls.results([partial(_try, masters, one) for one in listed], deadline)
    return [
        finding
        for one, answer in zip(listed, answers, strict=True)
        for finding in ([_late(one)] if answer is None else answer)
    ]


def _list(config: EnvelopeConfig, namespaces: Sequence[str], surveys: Mapping[str, Survey]) -> Iterator[_Listed]:
    entries = Entries(config)
    for namespace in namespaces:
        entry = entries.opening(namespace)
        if entry is None:
            continue
        prefix, keys = keys_of_entry(config, entry)
        for name, given in getattr(keys, "temporal_proxy_keys", {}).items():
            wrapped = _sample(surveys.get(namespace), name)
            yield _Listed(f"{prefix}temporal_proxy_keys", namespace, name, given, wrapped)


def _sample(survey: Survey | None, name: str) -> bytes | None:
    payload = None if survey is None else survey.samples.get(name)
    try:
        return None if payload is None else read_wrapped_key(payload)
    except MalformedEnvelope:  # a worker says so when it meets the payload
        return None


def _try(masters: MasterKeys, listed: _Listed) -> list[Finding]:
    """Load the keys of a name, and ask one after another until one unwraps. Runs in a thread."""
    unusable: list[Finding] = []
    refusals: list[Finding] = []
    opened = False
    for given in listed.keys:
        try:
            foreign = foreign_master(masters.get(given, opens=True), listed.name, str(show_key(listed.name)))
        except ConfigurationError as error:
            text = f"a master key can't be used: {error}"
            unusable.append(problem(Code.provider_unusable, _subject(listed), text, "correct the key, or its name"))
            continue
        if listed.wrapped is None or opened:
            continue
        refusal = _unwrap(foreign, listed.wrapped)
        if refusal is None:
            opened = True
        else:
            refusals.append(_refusal(listed, given, foreign, refusal))
    return unusable if opened else [*unusable, *refusals]


def _unwrap(foreign: ForeignMaster, wrapped: bytes) -> EnvelopeError | None:
    try:
        foreign.unwrap(wrapped)
    except BaseException as error:
        return translate_error(error, "unwrap", foreign.master)
    return None


def _refusal(listed: _Listed, given: object, foreign: ForeignMaster, error: EnvelopeError) -> Finding:
    denied, unavailable = isinstance(error, KeyDenied), isinstance(error, KmsUnavailable)
    code = Code.unwrap_denied if denied else Code.unwrap_unavailable if unavailable else Code.unwrap_invalid
    facts, key_id = facts_of_key(given), foreign.master.key_id
    meaning = find_meaning(facts, error)
    if meaning is not None and meaning.lacks_permission:
        fix = "let these credentials decrypt with the key, without a condition on what is bound: docs/adoption.md"
    else:
        fix = hint(facts, "unwrap", error, namespace=listed.namespace, purpose="data-key", key_id=key_id)
    text = f"unwrapping a data key that the proxy had wrapped under {show_key(listed.name)} failed: {error.reason}"
    return problem(code, _subject(listed), text, fix)


def _late(listed: _Listed) -> Finding:
    return problem(
        Code.no_answer_in_time,
        _subject(listed),
        "no answer in time: a data key of the proxy was not unwrapped",
        "check the network to the KMS and to the service that gives credentials, or set a longer --timeout",
    )


def _subject(listed: _Listed) -> str:
    return f"{listed.setting}, namespace {listed.namespace}"
