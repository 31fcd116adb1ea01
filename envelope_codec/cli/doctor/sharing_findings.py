"""The findings on sharing: what a KMS's own policies can do about who makes shared wrapping keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envelope_codec.cli.doctor.finding import Code, Finding, advice
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import NAMESPACE


def sharing_findings(probes: Sequence[Probe], config: EnvelopeConfig) -> Iterator[Finding]:
    """Give for each master key that seals the policy of roles that may wrap and do not share."""
    if not config.share_wrapping_keys:
        return
    for probe in probes:
        if not probe.key.seals or not probe.key_id or probe.facts is None:
            continue
        subject = f"{probe.key.setting}, namespace {probe.key.namespace}"
        context = {**probe.key.context, NAMESPACE: probe.key.namespace}
        policy = probe.facts.keep_from_sharing(probe.key_id, context)
        text = "wrapping keys are shared: a role that may only encrypt needs no permission to make such keys"
        if policy:
            yield advice(Code.sharing_policy, subject, text, f"give roles that do not share this policy: {policy}")
        else:
            yield advice(
                Code.sharing_policy,
                subject,
                f"{text}, and this KMS has no policy for that",
                "nothing: what such a role plants lacks the tag, and nobody adopts it",
            )
