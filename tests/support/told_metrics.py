"""What endpoints tell in tests of ``doctor --watch``: texts of metrics, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult

from envelope_codec.cli.doctor.watch.change import Change, Told
from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.exposition import parse
from envelope_codec.cli.doctor.watch.overview import Overview, overview_of
from envelope_codec.cli.doctor.watch.scrape import ScrapeFailed, parse_address

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
LEASE = 300.0


def series(name: str, value: float, **labels: str) -> str:
    told = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"envelope_codec_{name}{{{told}}} {value}\n"


def requests(status: str, count: float, route: str = "/decode") -> str:
    """What a codec server counted."""
    labels = f'http_route="{route}",http_response_status_code="{status}"'
    return f"http_server_request_duration_seconds_count{{{labels}}} {count}\n"


def lease(since: float, grace: float, namespace: str = "prod", key_id: str = KEY) -> str:
    where = {"operation": "unwrap", "namespace": namespace, "key_id": key_id}
    return series("lease_since_success_seconds", since, **where) + series("lease_grace_left_seconds", grace, **where)


def sealing_key(age: float, recipients: int = 1, lacking: int = 0, namespace: str = "prod") -> str:
    where = {"namespace": namespace, "key_id": KEY}
    facts = {"age_seconds": age, "uses": 7, "recipients": recipients, "recipients_lacking": lacking}
    return "".join(series(f"sealing_key_{fact}", value, **where) for fact, value in facts.items())


def changed(before: str, after: str, seconds: float = 60.0) -> Change:
    return Change(Told(0.0, parse(before)), Told(seconds, parse(after)))


def overview(before: str, after: str = "", seconds: float = 60.0) -> Overview:
    """Of one endpoint. Without ``after`` nothing changed."""
    return overview_of([changed(before, after or before, seconds)], LEASE)


class Scripted:
    """Answers in turn with what it was given; the last answer comes again."""

    def __init__(self, *answers: str | ScrapeFailed) -> None:
        self._answers: Sequence[str | ScrapeFailed] = answers
        self.asked = 0

    def __call__(self, address: SplitResult, seconds: float) -> str:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(answer, ScrapeFailed):
            raise answer
        return answer


def endpoint(*answers: str | ScrapeFailed, address: str = "worker:9464", clock: object = None) -> Endpoint:
    ask = Scripted(*answers)
    return Endpoint(parse_address(address), ask, clock) if callable(clock) else Endpoint(parse_address(address), ask)
