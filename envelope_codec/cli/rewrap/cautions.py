"""What to know before a rewrap, since it may make the work incomplete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envelope_codec.cli.output import plural
from envelope_codec.cli.rewrap.survey import Survey
from envelope_codec.config import EnvelopeConfig


def cautions(config: EnvelopeConfig, survey: Survey, sealing: Iterable[str]) -> Iterator[str]:
    """Yield what speaks against going on now, in sentences.

    Args:
        config: the settings of this command, which readers have too.
        survey: of the keystore.
        sealing: settings by which the old master key still seals.
    """
    for setting in sealing:
        yield f"the old master key still seals in this configuration: move it from {setting} to decrypt_keys"
    if survey.young:
        yield (
            f"{plural(survey.young, 'wrapping key')} under the old master key may still seal: younger than max_age. "
            "Wait until no process seals under the old master key, then max_age, and run this again"
        )
    if survey.frozen:
        yield (
            f"{plural(survey.frozen, 'wrapping key')} of these may still be adopted by workers that share, and are "
            "left as they are until max_age has passed"
        )
    if config.keystore_mode == "best_effort":
        yield (
            "keystore_mode is best_effort: wrapping keys may wait in processes, and are not here yet. See that the "
            "metric envelope_codec_keystore_queued is 0 everywhere"
        )
    if config.wrapping == "direct":
        yield "in direct mode nothing is in the keystore: those payloads need the old master key as long as they exist"
    if survey.unreadable:
        yield f"{plural(survey.unreadable, 'row')} can't be read by this version: nobody knows which keys they name"
