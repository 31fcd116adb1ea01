"""The doctor, run on a configuration in this process, and what it found."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.provider import Meaning, meanings
from envelope_codec.testing import FakeKms

SECONDS = 60.0
"""How long anything may take that must end. Reached only where it does not."""


async def examine(config: EnvelopeConfig, *namespaces: str) -> Diagnosis:
    request = Request(Configuration(config, "a test"), namespaces or ("default",), True, None)
    with quiet_logs() as words:
        return await diagnose(request, Deadline(SECONDS), Calls(), words)


def problems(diagnosis: Diagnosis) -> list[Code]:
    return [finding.code for finding in diagnosis.findings if finding.level is Level.problem]


def advised(diagnosis: Diagnosis) -> list[Code]:
    return [finding.code for finding in diagnosis.findings if finding.level is Level.advice]


def found(diagnosis: Diagnosis, code: Code) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.code is code]
    return finding


class Recording(FakeKms):
    """Keeps what it is asked, and can refuse one operation alone."""

    def __init__(self, key_id: str | None = None, **refusals: EnvelopeError | Exception) -> None:
        super().__init__(key_id)
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []
        self.refusals = refusals

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self.asked.append(("wrap", dict(context), secret))
        if "wrap" in self.refusals:
            raise self.refusals["wrap"]
        return super().wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self.asked.append(("unwrap", dict(context), b""))
        if "unwrap" in self.refusals:
            raise self.refusals["unwrap"]
        return super().unwrap(wrapped, context)


def denied(meaning: Meaning = meanings.DISABLED) -> EnvelopeError:
    return meaning.make_error(operation="wrap", key_id="fakekms://")


NOT_PERMITTED = meanings.NOT_PERMITTED


class OnceReached(Deadline):
    """Over as soon as an event is set."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(0)
        self._event = event

    @property
    def remaining(self) -> float:
        assert self._event.wait(SECONDS)
        return 0.0
