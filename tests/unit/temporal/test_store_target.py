"""What becomes of what a workflow hands over, and the target that tells it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import StorageDriverActivityInfo, StorageDriverStoreContext, StorageDriverWorkflowInfo

from envelope_codec.temporal.store_target import Fate, MarkedTarget, Run, ended_well, find_fate, mark

TARGET = StorageDriverWorkflowInfo(namespace="n", id="w", run_id="r", type="T")
RUN = Run()


def activation(*jobs: str, is_replaying: bool = False) -> WorkflowActivation:
    made = WorkflowActivation(is_replaying=is_replaying)
    for job in jobs:
        getattr(made.jobs.add(), job).SetInParent()
    return made


ROWS = [
    (("initialize_workflow",), False, Fate.SENT),
    (("initialize_workflow",), True, Fate.REPEATED),
    (("resolve_activity", "signal_workflow"), False, Fate.SENT),
    (("resolve_activity", "signal_workflow"), True, Fate.REPEATED),
    (("notify_has_patch", "initialize_workflow"), True, Fate.REPEATED),
    (("update_random_seed",), False, Fate.SENT),  # a reset workflow goes on
    (("do_update",), False, Fate.SENT),
    (("do_update",), True, Fate.REPEATED),
    (("cancel_workflow",), False, Fate.SENT),
    (("query_workflow",), True, Fate.ANSWER),  # the core says of each that it replays
    (("query_workflow",), False, Fate.ANSWER),
    (("query_workflow", "query_workflow"), True, Fate.ANSWER),
    (("initialize_workflow", "query_workflow"), True, Fate.SENT),  # the core makes no such thing: then all is stored
    (("initialize_workflow", "query_workflow"), False, Fate.SENT),
    (("remove_from_cache",), False, Fate.SENT),
    ((), True, Fate.SENT),
    ((), False, Fate.SENT),
]


@pytest.mark.parametrize(("jobs", "is_replaying", "fate"), ROWS)
def test_fate_by_the_activation(jobs: tuple[str, ...], is_replaying: bool, fate: Fate) -> None:
    assert find_fate(activation(*jobs, is_replaying=is_replaying)) is fate


@pytest.mark.parametrize("status", ["successful", "failed", None])
def test_only_a_success_ends_well(status: str | None) -> None:
    completion = WorkflowActivationCompletion()
    if status:
        getattr(completion, status).SetInParent()
    assert ended_well(completion) is (status == "successful")


# --- the target -------------------------------------------------------------------------------------------------------


def marked(target: StorageDriverWorkflowInfo = TARGET) -> MarkedTarget:
    found = mark(StorageDriverStoreContext(target=target), Fate.REPEATED, RUN).target
    assert isinstance(found, MarkedTarget)
    return found


def test_it_has_the_marks() -> None:
    assert (marked().fate, marked().run) == (Fate.REPEATED, RUN)


def test_it_is_the_sdks_to_everybody_else() -> None:
    """Drivers and selectors of the application see it."""
    target = marked()
    assert isinstance(target, StorageDriverWorkflowInfo)
    assert (target.namespace, target.id, target.run_id, target.type) == ("n", "w", "r", "T")
    for one, other in ((target, TARGET), (TARGET, target), (target, marked())):
        assert one == other
        assert (one != other) is False
        assert hash(one) == hash(other)
        assert repr(one) == repr(other)
        assert {one: 1}[other] == 1
        assert dataclasses.asdict(one) == dataclasses.asdict(other)
    for other_one in (dataclasses.replace(TARGET, id="other"), None, 7, "w"):
        assert target != other_one
        assert other_one != target
    context = StorageDriverStoreContext(target=target)
    assert context == StorageDriverStoreContext(target=TARGET)
    assert dataclasses.asdict(context) == dataclasses.asdict(StorageDriverStoreContext(target=TARGET))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda target: pickle.loads(pickle.dumps(target))])
def test_a_copy_is_the_sdks_own(make: Any) -> None:
    found = make(marked())
    assert (type(found), found) == (StorageDriverWorkflowInfo, TARGET)


def test_a_changed_one_has_no_marks() -> None:
    changed = dataclasses.replace(marked(), id="other")
    assert changed == dataclasses.replace(TARGET, id="other")
    assert changed.fate is Fate.SENT


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        marked().id = "other"  # type: ignore[misc]


@dataclasses.dataclass(frozen=True)
class Extended(StorageDriverStoreContext):
    """What another SDK, or a runner of the user's own, may give."""

    more: str = ""


class Other(StorageDriverWorkflowInfo):
    pass


@pytest.mark.parametrize(
    "context",
    [
        StorageDriverStoreContext(target=None),
        StorageDriverStoreContext(target=StorageDriverActivityInfo(namespace="n", id="a")),
        StorageDriverStoreContext(target=Other(namespace="n")),
        Extended(target=TARGET),
        ("store", None),
        None,
    ],
)
def test_what_is_not_known_is_not_marked(context: Any) -> None:
    assert mark(context, Fate.REPEATED, RUN) is context


def test_what_is_sent_is_not_marked() -> None:
    context = StorageDriverStoreContext(target=TARGET)
    assert mark(context, Fate.SENT, RUN) is context
