"""docs/benchmarks.md, from the figures of all sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.side_by_side import peer_pages, targets
from benchmarks.side_by_side.sections import SECTIONS, Section
from benchmarks.side_by_side.tables import table

_INTRODUCTION = """\
# Benchmarks

What encryption costs with this library and with others. `make bench` measures for some 25 minutes, and writes this
page; do not edit it. `make bench ARGS=--quick` takes three minutes, and writes a page of its own instead:
`.devstack/bench-quick/benchmarks.md`.

All figures are of one run on the machine [below](#machine-and-versions). **Ratios carry over to other machines, times
do not.** Those who are compared take turns in rounds, in one process or in processes of their own, on the same
payloads: orders in JSON, no two alike. Figures are medians over the rounds, with quartiles or the
lowest and highest in parentheses. Time is processor time where nobody waits, and wall-clock time where the KMS's
latency is the point.
"""

_PROMISES = """\
## Promises

What this project promises about cost, and whether this run held it. Bars are multiples: ≤ 1.03 is 3 % more at most, and
≤ 0.25 a quarter. Those of KMS calls and of copies are numbers.
"""

_MISSED = """\
Why some are missed:

- **A static key at 1 and 64 KiB:** compare *cryptography alone* [below](#processor-time). Where that is over a bar,
  a data key for each payload is what costs, and no code of ours can hold the bar on that machine.
- **Bytes on the wire at 100 KiB:** zstd at its quickest level leaves more of these documents than the SDK's gzip does,
  and each envelope adds its overhead. A slower level would leave less, and take longer.
- **What is near its bar** is held in one run and missed in the next: see the spreads.
"""

_PEERS = """\
## Who is compared

Each is set up as its own documentation recommends, and wrapped as a payload codec of Temporal's SDK. All have the same
KMS: boto3's own client of AWS KMS, which builds, signs and parses each request, and is answered in the process after a
latency that is the same for all. So the figures hold what boto3 costs, and no network. DynamoDB, which the hierarchical
keyring asks for its branch keys, is answered in the same way, and not by LocalStack: so it has the latency that the
KMS has. In steady state the keyring does not ask.
"""

_PROXY = """\
## Temporal's proxy

[Temporal Proxy](https://docs.temporal.io/production-deployment/temporal-proxy/encrypt-payloads) encrypts in a process
between workers and service, so that it can't be called as a codec, and was not measured here. Its repository publishes
no figures; [its documentation](https://docs.temporal.io/production-deployment/temporal-proxy/sizing-and-performance)
does, of one replica with four cores on AWS Graviton, for a version that is not named:

| workload | requests a second, at most | cores for 1,000 requests a second |
| --- | ---: | ---: |
| small payloads, no encryption | about 12,900 | 0.29–0.31 |
| small payloads, encryption | about 10,500 to 11,400 | 0.33–0.36 |

By these figures the encryption of a request's payloads costs about 20 to 70 µs of a core, and the proxy itself 300 µs.
The proxy keeps one data key for an hour (its default) and uses it for many payloads; here each payload has its own.
"""


@dataclass(frozen=True)
class Run:
    """Everything that the page says.

    Attributes:
        results: what each section's program wrote.
        failures: sections that failed, and why.
        machine: its description.
        versions: of packages.
        load: processes that wanted a core before the run.
        quick: whether it was a short run.
    """

    results: Mapping[str, Mapping[str, Any]]
    machine: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    load: str = "unknown"
    quick: bool = False


def render(run: Run, sections: Sequence[Section] = SECTIONS) -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION]
    if run.quick:
        parts.append("**This was a short run: its figures are rough.**\n")
    parts.append(f"{_PROMISES}\n{targets.render(run.results)}\n\n{_MISSED}")
    parts += [_section(section, run) for section in sections if _is_shown(section, run)]
    peers = next((run.results[name] for name in run.results if name.startswith("peers-")), None)
    if peers is not None:
        parts.append(f"{_PEERS}\n{peer_pages.peers(peers)}\n")
    parts += [_PROXY, _machine(run)]
    return "\n".join(parts)


def _is_shown(section: Section, run: Run) -> bool:
    return section.name in run.results or section.name in run.failures


def _section(section: Section, run: Run) -> str:
    command = f"`benchmarks/{section.program}` measures this."
    if section.name in run.failures:
        return f"## {section.title}\n\n{command} It failed in this run: {run.failures[section.name]}\n"
    return f"## {section.title}\n\n{section.render(run.results[section.name])}\n\n{command}\n"


def _machine(run: Run) -> str:
    described = {**run.machine, "processes that wanted a core before the run": run.load, **run.versions}
    rows = [[name, text] for name, text in described.items()]
    return f"## Machine and versions\n\n{table(['', ''], rows, numbers=False)}\n"
