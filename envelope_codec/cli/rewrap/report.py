"""What a rewrap prints: what it is going to do, and what it did."""

from __future__ import annotations

from collections.abc import Iterable

from envelope_codec.cli.output import Page, plural
from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.steps import KeyIds, Outcome
from envelope_codec.cli.rewrap.survey import Survey

_WORDS = {
    Outcome.added: "got a recipient of the new master key",
    Outcome.there: "were done before",
    Outcome.dropped: "lost their recipients of the old master key",
    Outcome.unconcerned: "do not name the old master key any more",
}


def print_plan(page: Page, survey: Survey, ids: KeyIds, warnings: Iterable[str], *, dropping: bool) -> None:
    """Print what the keystore holds, and what is to be done."""
    page.heading("Keystore")
    page.fact("rows", f"{survey.rows:,}")
    if survey.elsewhere:
        page.fact("left out", f"{survey.elsewhere:,} of other namespaces")
    page.fact("under the old key", f"{len(survey.under_old) + survey.frozen:,}")
    for namespace, count in sorted(survey.by_namespace.items()):
        page.fact("", f"{count:,} in namespace {namespace}")
    page.fact("without the new", f"{survey.lacking:,}")
    if survey.frozen:
        page.fact("left for now", f"{survey.frozen:,} that are shared, and may still be adopted")
    if not survey.under_old and not survey.frozen:
        page.line("No row names the old master key. The rows name:", indent=2)
        for key_id, count in survey.by_key_id.most_common():
            page.line(f"{key_id}  {plural(count, 'row')}", indent=4)
    else:
        page.heading("To do")
        page.fact("old master key", ", ".join(sorted(ids.old)))
        page.fact("new master key", ", ".join(sorted(ids.new)))
        if dropping:
            page.fact("rows to shorten", f"{len(survey.under_old):,}")
        page.fact("KMS calls", f"{len(survey.under_old) if dropping else survey.calls:,} at least")
    for warning in warnings:
        page.fact("Warning:", warning, indent=0, column=10, style="bold")


def print_counts(page: Page, counts: Counts) -> None:
    """Print how the rows ended."""
    page.heading("Done")
    for outcome in Outcome:
        if counts.outcomes[outcome]:
            page.line(f"{plural(counts.outcomes[outcome], 'row')} {_WORDS[outcome]}", indent=2)
    for reason, failure in counts.failures.items():
        page.line(f"{plural(failure.rows, 'row')} failed: {reason}", indent=2, style="bold")
        page.line(f"the first is {failure.first.hex()}", indent=4)
        if failure.words:
            page.line(failure.words, indent=4)
    if counts.untried:
        page.line(f"{plural(counts.untried, 'row')} not tried, since the last ones all failed", indent=2, style="bold")
    page.line(f"{plural(counts.calls, 'KMS call')}", indent=2)
