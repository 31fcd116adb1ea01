"""The findings about master keys, from their probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envelope_codec.cli.doctor.finding import Code, Finding, advice, problem
from envelope_codec.cli.doctor.hint import find_meaning, hint
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Purpose
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable

_PURPOSES = {
    Purpose.WRAPPING_KEY: "wrapping-key",
    Purpose.DATA_KEY: "data-key",
    Purpose.SHARED_WRAPPING_KEY: "shared-wrapping-key",
}


def key_findings(probes: Sequence[Probe], config: EnvelopeConfig, purpose: Purpose) -> Iterator[Finding]:
    """Find what is wrong with the master keys, and what could not be proved.

    A key that can't be loaded is one finding, whatever the number of its namespaces.
    """
    told: set[tuple[str, str]] = set()
    yield from _twice(probes)
    for probe in probes:
        if probe.defect:
            if (probe.key.setting, probe.defect) not in told:
                told.add((probe.key.setting, probe.defect))
                yield problem(
                    Code.provider_unusable,
                    probe.key.setting,
                    f"this master key can't be used: {probe.defect}",
                    _fix_of_defect(probe),
                )
        elif not probe.ended:
            yield _late(probe)
        else:
            yield from _wrap_findings(probe, config, purpose)
            yield from _unwrap_findings(probe, config, purpose)
        for text, fix in probe.notices:
            if (probe.key_id, text) not in told:
                told.add((probe.key_id, text))
                yield advice(Code.provider_notice, _subject(probe), text, fix)


def _fix_of_defect(probe: Probe) -> str:
    if not probe.lacks_package:
        return "correct the key, or what it names"
    requirement = probe.facts.requirement if probe.facts is not None else ""
    return f'pip install "{requirement}"' if requirement else "install the package that it names"


def _lacks_permission(probe: Probe, error: EnvelopeError) -> bool:
    meaning = find_meaning(probe.facts, error)
    return isinstance(error, KeyDenied) and meaning is not None and meaning.lacks_permission


def _twice(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Find master keys that one namespace has under two URIs. `KeySets` refuses them."""
    first: dict[tuple[str, str], str] = {}
    for probe in probes:
        if (
            probe.key_id
            and first.setdefault((probe.key.namespace, probe.key_id), probe.key.setting) != probe.key.setting
        ):
            other = first[probe.key.namespace, probe.key_id]
            text = f"{other} and {probe.key.setting} name one master key, {probe.key_id}: no client or worker starts"
            yield problem(Code.configuration_invalid, _subject(probe), text, "list it once")


def _late(probe: Probe) -> Finding:
    doing = {"load": "it was still being loaded", "wrap": "it did not wrap", "unwrap": "it wrapped, but did not unwrap"}
    return problem(
        Code.no_answer_in_time,
        _subject(probe),
        f"no answer in time: {doing[probe.stage]}",
        "check the network to the KMS and to the service that gives credentials, or set a longer --timeout",
    )


def _wrap_findings(probe: Probe, config: EnvelopeConfig, purpose: Purpose) -> Iterator[Finding]:
    error = probe.wrap.error if probe.wrap else None
    if probe.wrap is None or error is None:
        return
    denied, unavailable = isinstance(error, KeyDenied), isinstance(error, KmsUnavailable)
    code = Code.wrap_denied if denied else Code.wrap_unavailable if unavailable else Code.wrap_invalid
    lacks_permission = _lacks_permission(probe, error)
    needed = probe.key.seals and config.sealing
    if lacks_permission and not needed:
        if not probe.proved:
            yield advice(
                Code.opening_unproved,
                _subject(probe),
                "these credentials may not wrap with this key, which is only to open: so nothing could be made to "
                "prove that it opens",
                "give --address: a history with a payload under this key proves it",
                probe.wrap.words,
            )
        return
    text = f"wrapping failed: {error.reason}"
    if not probe.proved:
        text += "; so opening could not be tried"
    yield problem(code, _subject(probe), text, _fix(probe, "wrap", error, purpose), probe.wrap.words)


def _unwrap_findings(probe: Probe, config: EnvelopeConfig, purpose: Purpose) -> Iterator[Finding]:
    error = probe.unwrap.error if probe.unwrap else None
    if probe.unwrap is None or error is None:
        return
    denied, unavailable = isinstance(error, KeyDenied), isinstance(error, KmsUnavailable)
    code = Code.unwrap_denied if denied else Code.unwrap_unavailable if unavailable else Code.unwrap_invalid
    what = "a payload's own record" if probe.proved else "what it had just wrapped"
    if _lacks_permission(probe, error) and probe.key.seals and not config.verify_wraps:
        yield advice(
            code,
            _subject(probe),
            "these credentials may not unwrap: with verify_wraps = false they may be those of a role that only seals",
            _fix(probe, "unwrap", error, purpose) + ", if this role is to open",
            probe.unwrap.words,
        )
        return
    yield problem(
        code,
        _subject(probe),
        f"unwrapping {what} failed: {error.reason}",
        _fix(probe, "unwrap", error, purpose),
        probe.unwrap.words,
    )


def _fix(probe: Probe, operation: str, error: EnvelopeError, purpose: Purpose) -> str:
    return hint(
        probe.facts,
        operation,
        error,
        namespace=probe.key.namespace,
        purpose=_PURPOSES[purpose],
        key_id=probe.key_id,
    )


def _subject(probe: Probe) -> str:
    return f"{probe.key.setting}, namespace {probe.key.namespace}"
