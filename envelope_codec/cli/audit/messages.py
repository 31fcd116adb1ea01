"""What the workflow of a distributed audit and its workers tell each other. It goes through Temporal, sealed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """What is audited, and how. It is the same for all runs of the workflow.

    Attributes:
        version: of the package that asked.
        namespace: the namespace to read.
        query: what to read of it; empty for all.
        as_of: T0, in milliseconds since 1970. None if the server says it.
        wait: how many seconds the server may need to list a change.
        rate: requests a second, of all workers together.
        at_once: how many windows are worked on at once.
        takeover: after how many seconds without a sign of life a window is given to another worker.
        marker: what the command has put where results are kept. Who finds it there keeps them at the same place.
    """

    version: str
    namespace: str
    query: str
    as_of: int | None
    wait: float
    rate: float
    at_once: int
    takeover: float
    marker: str


@dataclass(frozen=True)
class Span:
    """A window of a part, from ``low`` to ``high``, in milliseconds since 1970."""

    part: str
    low: int
    high: int


OTHERS = Span("others", 0, 0)
"""Stands for what is no workflow."""


@dataclass(frozen=True)
class Beginning:
    """What is known before anything is read.

    Attributes:
        as_of: T0, in milliseconds since 1970.
        waits: whether the server may not list yet what had happened by then.
        retention: for how many seconds the server keeps a workflow that has ended.
        archived: whether the server archives histories.
    """

    as_of: int
    waits: bool
    retention: float
    archived: bool


@dataclass(frozen=True)
class Plan:
    """Some of the windows of a part, in order, without a gap.

    Attributes:
        windows: the windows.
        high: where the part ends.
        total: how many workflows there are from the first window to the end. None if the server does not tell.
    """

    windows: list[Span]
    high: int
    total: int | None


@dataclass(frozen=True)
class Kept:
    """A window that was read.

    Attributes:
        window: the window.
        result: the id under which its result is kept.
        sources: how many workflows it has.
        new: how many of them were not there when it was read before.
    """

    window: Span
    result: str
    sources: int
    new: int = 0


@dataclass(frozen=True)
class Others:
    """What is no workflow, once it was read.

    Attributes:
        result: the id under which its result is kept.
        not_listed: kinds of it that the server does not list. They count among workflows, as what can't be read.
    """

    result: str
    not_listed: list[str] = field(default_factory=list)


@dataclass
class Position:
    """How far an audit has come. It goes from run to run of the workflow.

    Attributes:
        beginning: None until it is known.
        pages: by part: the ids under which the pages of windows are kept, in order.
        reading: what is left of the part that is read now; None before and after.
        others: schedules and so on; None until they were read.
        comparison: the number of the comparison, from 1 on.
        compared: how many pages this comparison has done, of all parts.
        new: how many workflows this comparison has found new.
        done: how many workflows, or windows, have been done of the step.
        total: how many there are; None if nobody knows.
        doing: what is done, for people.
    """

    beginning: Beginning | None = None
    pages: dict[str, list[str]] = field(default_factory=dict)
    reading: Span | None = None
    others: Others | None = None
    comparison: int = 1
    compared: int = 0
    new: int = 0
    done: int = 0
    total: int | None = None
    doing: str = "beginning"


@dataclass(frozen=True)
class Summary:
    """Where the results of an audit are kept, and what else it found.

    Attributes:
        request: what was audited.
        beginning: what was known before anything was read.
        pages: by part: the ids of the pages of windows.
        others: the id of the result of schedules and so on.
        new: how many workflows the last comparison had found new.
    """

    request: Request
    beginning: Beginning
    pages: dict[str, list[str]]
    others: str
    new: int


@dataclass(frozen=True)
class WindowWork:
    """A window that is to be planned, read or compared.

    Attributes:
        request: the audit.
        as_of: T0; 0 where nobody needs it.
        window: the window.
        result: the id of its result, if it was read before.
        limit: how many windows are planned at most.
        not_listed: kinds of what is no workflow that the server does not list otherwise.
    """

    request: Request
    as_of: int
    window: Span
    result: str = ""
    limit: int = 0
    not_listed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PageWork:
    """A page of windows that is to be kept, or loaded if there are none.

    Attributes:
        request: the audit.
        windows: the windows.
        page: the id of the page.
    """

    request: Request
    windows: list[Kept]
    page: str = ""
