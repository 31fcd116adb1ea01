"""What a workflow hands over: no failure is in clear, null memo fields are settled, and what is repeated is marked."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.bridge.worker import encode_completion
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowRunner
from temporalio.worker._command_aware_visitor import CommandInfo
from temporalio.worker._workflow import _CommandAwareDataConverter

from envelope_codec import EnvelopeCodec, envelope_data_converter
from envelope_codec.temporal import untouched
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.failure_attributes import is_hidden
from envelope_codec.temporal.store_target import Fate, MarkedTarget
from envelope_codec.temporal.untouched import is_untouched
from envelope_codec.temporal.workflow_instance import (
    GuardedInstance,
    find_failures,
    guard_runner,
    is_guarded_runner,
)
from envelope_codec.testing import FakeKms

SECRET = "marigold"
NULLS = {
    "binary/null": Payload(metadata={"encoding": b"binary/null"}),
    "null": Payload(metadata={"encoding": b"json/plain"}, data=b"null"),
    "list": Payload(metadata={"encoding": b"json/plain"}, data=b"[]"),
    "bytes": Payload(metadata={"encoding": b"binary/plain"}),
    "own": Payload(metadata={"encoding": b"binary/own"}, data=b"null"),
}
VALUE = Payload(metadata={"encoding": b"json/plain"}, data=f'"{SECRET}"'.encode())


class Instance(WorkflowInstance):
    """Hands over what it was given."""

    def __init__(self, completion: WorkflowActivationCompletion) -> None:
        self.completion = completion
        self.besides = "something of its own"

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return self.completion

    def get_serialization_context(self, command_info: Any) -> Any:
        return ("serialization", command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return ("store", command_info)

    def get_info(self) -> Any:
        return "info"

    def get_thread_id(self) -> int | None:
        return 7


class Runner(UnsandboxedWorkflowRunner):
    """A user's own."""

    def __init__(self, completion: WorkflowActivationCompletion | None = None) -> None:
        self.completion = completion or WorkflowActivationCompletion()
        self.made = 0

    def create_instance(self, det: Any) -> WorkflowInstance:
        self.made += 1
        return Instance(self.completion)


def settled(completion: WorkflowActivationCompletion) -> WorkflowInstance:
    """The instance that has handed over ``completion``: it is held until then."""
    instance = guard_runner(Runner(completion)).create_instance(None)  # type: ignore[arg-type]
    assert instance.activate(WorkflowActivation()) is completion
    return instance


# --- failures ---------------------------------------------------------------------------------------------------------


def places(descriptor: Descriptor, path: tuple[str, ...] = (), above: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Every path of fields that leads to a failure, by the messages' own descriptions."""
    if descriptor.full_name == Failure.DESCRIPTOR.full_name:
        yield path
    elif descriptor.full_name not in above:
        for field in descriptor.fields:
            if field.message_type is not None:
                yield from places(field.message_type, (*path, field.name), above | {descriptor.full_name})


PLACES = list(places(WorkflowActivationCompletion.DESCRIPTOR))


def put(message: Any, path: Sequence[str]) -> Failure:
    """Make a failure in clear at ``path`` of ``message``."""
    for name in path:
        message = getattr(message, name)
        if not isinstance(message, Message):
            message = message.add()
    message.message = message.cause.message = SECRET
    message.stack_trace = message.cause.stack_trace = SECRET
    message.cause.application_failure_info.details.payloads.append(VALUE)
    return message  # type: ignore[no-any-return]


def test_places_of_failures_are_those_that_the_tests_know() -> None:
    assert {".".join(path) for path in PLACES} == {
        "failed.failure",
        "successful.commands.fail_workflow_execution.failure",
        "successful.commands.respond_to_query.failed",
        "successful.commands.update_response.rejected",
    }


@pytest.mark.parametrize("path", PLACES, ids=".".join)
async def test_failure_is_hidden_and_sealed_wherever_it_stands(path: tuple[str, ...]) -> None:
    """Sealed as well: the SDK's visitor must come by, or the text would be in clear in another field."""
    completion = WorkflowActivationCompletion()
    failure = put(completion, path)
    assert list(find_failures(completion)) == [failure]
    instance = settled(completion)
    assert is_hidden(failure)
    converter = envelope_data_converter(FakeKms(), namespace="n")
    await encode_completion(completion, converter, encode_headers=True, storage_concurrency_limit=1)
    assert SECRET.encode() not in completion.SerializeToString()
    assert all(is_envelope(level.encoded_attributes) for level in (failure, failure.cause))
    info: Any = instance.get_info()
    assert info == "info"


def test_many_commands_are_gone_through() -> None:
    completion = WorkflowActivationCompletion()
    for _ in range(3):
        completion.successful.commands.add().start_timer.seq = 1
        put(completion.successful.commands.add().update_response.rejected, ())
    settled(completion)
    assert SECRET not in str([failure.message for failure in find_failures(completion)])
    assert len(list(find_failures(completion))) == 3


def test_instance_raises_what_the_workflows_raises_and_its_frame_knows_nothing() -> None:
    class Raising(Runner):
        def create_instance(self, det: Any) -> WorkflowInstance:
            class Failing(Instance):
                def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
                    raise RuntimeError("no way")

            return Failing(self.completion)

    instance = guard_runner(Raising()).create_instance(None)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no way") as caught:
        instance.activate(WorkflowActivation(run_id=SECRET))
    trace = caught.value.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    assert SECRET not in repr(trace.tb_next.tb_frame.f_locals)


def test_instance_is_what_the_runners_own_is_besides() -> None:
    instance: Any = settled(WorkflowActivationCompletion())
    assert instance.get_serialization_context(None) == ("serialization", None)
    assert instance.get_external_store_context(None) == ("store", None)
    assert (instance.get_info(), instance.get_thread_id()) == ("info", 7)
    assert instance.besides == "something of its own"


# --- runners ----------------------------------------------------------------------------------------------------------


def test_runner_is_of_the_users_class_and_shares_its_state() -> None:
    mine = Runner()
    runner = guard_runner(mine)
    assert isinstance(runner, Runner)
    runner.create_instance(None)
    assert mine.made == runner.made == 1
    assert guard_runner(runner) is runner
    assert is_guarded_runner(runner)
    assert not is_guarded_runner(mine)
    assert type(guard_runner(Runner())) is type(runner)


class Slotted(WorkflowRunner):
    """Has no dictionary to share."""

    __slots__ = ("types",)

    def prepare_workflow(self, defn: Any) -> None:
        raise RuntimeError("prepared")

    def create_instance(self, det: Any) -> WorkflowInstance:
        return Instance(det)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        self.types = types


class Closed(Runner):
    """Lets nobody extend it."""

    def __init_subclass__(cls) -> None:
        raise TypeError("closed")


@pytest.mark.parametrize("mine", [Slotted(), Closed()], ids=lambda mine: type(mine).__name__)
def test_runner_that_can_not_be_extended_is_asked(mine: Any) -> None:
    runner = guard_runner(mine)
    assert is_guarded_runner(runner)
    assert guard_runner(runner) is runner
    completion = WorkflowActivationCompletion()
    put(completion, ("failed", "failure"))
    mine.completion = completion if isinstance(mine, Closed) else None
    runner.create_instance(completion).activate(WorkflowActivation())  # type: ignore[arg-type]
    assert is_hidden(completion.failed.failure)
    runner.set_worker_level_failure_exception_types([ValueError])


# --- memo -------------------------------------------------------------------------------------------------------------


class Marking(PayloadCodec):
    """A user's codec."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"marked"}, data=each.SerializeToString()) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(each.data) for each in payloads]


class Greedy(StorageDriver):
    """A user's store, that takes everything."""

    def __init__(self) -> None:
        self.stored: list[Payload] = []
        self.contexts: list[Any] = []

    def name(self) -> str:
        return "greedy"

    async def store(self, context: Any, payloads: Any) -> Any:
        self.contexts.append(context)
        self.stored.extend(Payload.FromString(payload.SerializeToString()) for payload in payloads)
        return [StorageDriverClaim(claim_data={"at": "0"}) for _ in payloads]

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise NotImplementedError


def upserting(**fields: Payload) -> WorkflowActivationCompletion:
    completion = WorkflowActivationCompletion()
    upserted = completion.successful.commands.add().modify_workflow_properties.upserted_memo.fields
    for name, payload in fields.items():
        upserted[name].CopyFrom(payload)
    return completion


async def encoded(completion: WorkflowActivationCompletion, converter: DataConverter) -> None:
    await encode_completion(completion, converter, encode_headers=True, storage_concurrency_limit=3)


@pytest.mark.parametrize("null", NULLS.values(), ids=NULLS)
@pytest.mark.parametrize("codec", [None, Marking()], ids=["alone", "after another codec"])
async def test_null_memo_fields_reach_the_server_as_they_are(null: Payload, codec: PayloadCodec | None) -> None:
    completion = upserting(gone=null, kept=VALUE)
    instance = settled(completion)
    converter = envelope_data_converter(FakeKms(), base=DataConverter(payload_codec=codec), namespace="n")
    await encoded(completion, converter)
    fields = completion.successful.commands[0].modify_workflow_properties.upserted_memo.fields
    assert fields["gone"] == null
    assert is_envelope(fields["kept"])
    assert instance is not None


def marked(message: Message) -> Payload:
    """As the SDK would send ``message`` to the system's Nexus endpoint, past every codec."""
    kind = message.DESCRIPTOR.full_name.encode()
    metadata = {"encoding": b"binary/protobuf", "messageType": kind, "__temporal_system_payload": b"true"}
    return Payload(metadata=metadata, data=message.SerializeToString())


@pytest.mark.parametrize(
    "message", [Failure(message=SECRET), SignalWithStartWorkflowExecutionRequest(workflow_id=SECRET)]
)
@pytest.mark.parametrize("place", ["result", "header", "operation", "in a memo"])
async def test_nobody_has_a_payload_left_in_clear_by_the_sdks_mark(place: str, message: Message) -> None:
    completion = WorkflowActivationCompletion()
    command = completion.successful.commands.add()
    operation = command.schedule_nexus_operation
    if place == "result":
        command.complete_workflow_execution.result.CopyFrom(marked(message))
    elif place == "header":
        command.schedule_activity.headers["h"].CopyFrom(marked(message))
    elif place == "operation":
        operation.endpoint = "mine"
        operation.input.CopyFrom(marked(message))
    else:
        request = SignalWithStartWorkflowExecutionRequest()
        request.memo.fields["k"].CopyFrom(marked(message))
        operation.endpoint = "__temporal_system"
        operation.input.CopyFrom(marked(request))
    instance = settled(completion)
    await encoded(completion, envelope_data_converter(FakeKms(), namespace="n"))
    assert b"marigold" not in completion.SerializeToString()
    if place == "in a memo":
        assert operation.input.metadata["__temporal_system_payload"] == b"true", "the SDK's own is left"
    assert instance is not None


@pytest.mark.parametrize("kind", ["upsert", "continue as new"])
async def test_what_goes_out_in_clear_says_no_more_than_that_it_is_null(kind: str) -> None:
    null = Payload(metadata={"encoding": b"binary/own", "key": b"marigold"}, data=b"null")
    null.external_payloads.add(size_bytes=1)
    completion = WorkflowActivationCompletion()
    command = completion.successful.commands.add()
    if kind == "upsert":
        fields = command.modify_workflow_properties.upserted_memo.fields
    else:
        fields = command.continue_as_new_workflow_execution.memo
    fields["gone"].CopyFrom(null)
    instance = settled(completion)
    await encoded(completion, envelope_data_converter(FakeKms(), namespace="n"))
    assert fields["gone"] == Payload(metadata={"encoding": b"binary/own"}, data=b"null")
    assert instance is not None


async def test_null_memo_fields_are_not_stored_elsewhere_either() -> None:
    driver = Greedy()
    base = DataConverter(payload_codec=Marking(), external_storage=ExternalStorage([driver], payload_size_threshold=0))
    completion = upserting(gone=NULLS["null"], kept=VALUE)
    instance = settled(completion)
    await encoded(completion, envelope_data_converter(FakeKms(), base=base, namespace="n"))
    fields = completion.successful.commands[0].modify_workflow_properties.upserted_memo.fields
    assert fields["gone"] == NULLS["null"]
    assert [is_envelope(payload) for payload in driver.stored] == [True]
    assert instance is not None


@pytest.mark.slow
async def test_nobody_can_ask_to_be_left_alone() -> None:
    """Not by bytes: only the very objects that were found in a memo are, and while their workflow lives."""
    null = NULLS["binary/null"]
    completion = upserting(gone=null)
    instance = settled(completion)
    found = completion.successful.commands[0].modify_workflow_properties.upserted_memo.fields["gone"]
    codec = CodecChain([Marking(), EnvelopeCodec(FakeKms(), namespace="n")])
    same = Payload.FromString(found.SerializeToString())
    assert same == found
    for payload in (same, null):
        [sealed] = await codec.encode([payload])
        assert is_envelope(sealed)
    first, second, third = await codec.encode([same, found, VALUE])
    assert (is_envelope(first), second, is_envelope(third)) == (True, null, True)
    instance.activate(WorkflowActivation())
    assert is_untouched(found), "until the next completion, which is the same here"
    del instance
    gc.collect()
    [sealed] = await codec.encode([found])
    assert is_envelope(sealed)


def test_next_activation_lets_go_of_what_was_held() -> None:
    runner = Runner(upserting(gone=NULLS["null"]))
    instance = guard_runner(runner).create_instance(None)  # type: ignore[arg-type]
    instance.activate(WorkflowActivation())
    found = runner.completion.successful.commands[0].modify_workflow_properties.upserted_memo.fields["gone"]
    assert is_untouched(found)
    instance._instance.completion = WorkflowActivationCompletion()  # type: ignore[attr-defined]
    instance.activate(WorkflowActivation())
    assert not is_untouched(found)


@pytest.mark.parametrize("null", NULLS.values(), ids=NULLS)
async def test_null_memo_fields_of_children_are_dropped(null: Payload) -> None:
    completion = WorkflowActivationCompletion()
    memo = completion.successful.commands.add().start_child_workflow_execution.memo
    memo["gone"].CopyFrom(null)
    memo["kept"].CopyFrom(VALUE)
    settled(completion)
    assert set(memo) == {"kept"}


@pytest.mark.parametrize(
    ("given", "left", "in_clear"),
    [
        ({}, set(), set()),
        ({"gone": "null"}, {"gone"}, {"gone"}),  # dropped, the next run would inherit the memo
        ({"gone": "null", "too": "list"}, {"gone", "too"}, {"gone", "too"}),
        ({"gone": "null", "kept": None}, {"kept"}, set()),
    ],
)
async def test_next_run_gets_the_memo_that_it_would_get(given: dict[str, Any], left: set[str], in_clear: Any) -> None:
    completion = WorkflowActivationCompletion()
    memo = completion.successful.commands.add().continue_as_new_workflow_execution.memo
    for name, null in given.items():
        memo[name].CopyFrom(NULLS[null] if null else VALUE)
    instance = settled(completion)
    await encoded(completion, envelope_data_converter(FakeKms(), namespace="n"))
    assert set(memo) == left
    assert {name for name, payload in memo.items() if not is_envelope(payload)} == in_clear
    assert instance is not None


def test_null_memo_fields_of_a_signal_with_start_are_dropped() -> None:
    request = SignalWithStartWorkflowExecutionRequest(workflow_id="w")
    request.memo.fields["gone"].CopyFrom(NULLS["null"])
    request.memo.fields["kept"].CopyFrom(VALUE)
    completion = WorkflowActivationCompletion()
    operation = completion.successful.commands.add().schedule_nexus_operation
    for endpoint, expected in (("mine", {"gone", "kept"}), ("__temporal_system", {"kept"})):
        operation.endpoint = endpoint
        operation.input.metadata["messageType"] = request.DESCRIPTOR.full_name.encode()
        operation.input.data = request.SerializeToString()
        settled(completion)
        left = SignalWithStartWorkflowExecutionRequest.FromString(operation.input.data)
        assert set(left.memo.fields) == expected
        assert left.workflow_id == "w"
    operation.input.data = b"no message"
    settled(completion)
    assert operation.input.data == b"no message"


async def test_activations_in_many_threads_leave_nothing_held() -> None:
    def activated(number: int) -> bool:
        completion = upserting(gone=NULLS["null"])
        instance = settled(completion)
        found = completion.successful.commands[0].modify_workflow_properties.upserted_memo.fields["gone"]
        return instance is not None and is_untouched(found)

    loop = asyncio.get_running_loop()
    assert all(await asyncio.gather(*(loop.run_in_executor(None, activated, number) for number in range(200))))
    gc.collect()
    assert not untouched._untouched


# --- what Temporal does not keep --------------------------------------------------------------------------------------

TARGET = StorageDriverWorkflowInfo(namespace="n", id="w")


class Storing(Instance):
    """Has a target for what is stored, as the SDK's instances."""

    def get_external_store_context(self, command_info: Any) -> Any:
        return StorageDriverStoreContext(target=TARGET)


class StoringRunner(Runner):
    def create_instance(self, det: Any) -> WorkflowInstance:
        return Storing(self.completion)


def activation(*jobs: str, is_replaying: bool) -> WorkflowActivation:
    made = WorkflowActivation(is_replaying=is_replaying)
    for job in jobs:
        getattr(made.jobs.add(), job).SetInParent()
    return made


REPLAYING = activation("initialize_workflow", is_replaying=True)
ASKED = activation("query_workflow", is_replaying=True)
NEW = activation("resolve_activity", is_replaying=False)


def storing(completion: WorkflowActivationCompletion | None = None) -> Any:
    if completion is None:
        completion = WorkflowActivationCompletion()
        completion.successful.SetInParent()
    return guard_runner(StoringRunner(completion)).create_instance(None)  # type: ignore[arg-type]


def fate_of(instance: WorkflowInstance) -> Fate:
    target = instance.get_external_store_context(None).target
    assert target == TARGET
    return target.fate if isinstance(target, MarkedTarget) else Fate.SENT


def test_each_store_is_told_the_fate_of_what_the_last_activation_left() -> None:
    instance = storing()
    assert fate_of(instance) is Fate.SENT, "before the first"
    for act, fate in ((REPLAYING, Fate.REPEATED), (NEW, Fate.SENT), (ASKED, Fate.ANSWER), (REPLAYING, Fate.REPEATED)):
        instance.activate(act)
        assert fate_of(instance) is fate


def test_a_failure_is_stored_in_a_replay_as_well() -> None:
    """It goes to Temporal at once."""
    completion = WorkflowActivationCompletion()
    completion.failed.SetInParent()
    instance = storing(completion)
    for act in (REPLAYING, ASKED):
        instance.activate(act)
        assert fate_of(instance) is Fate.SENT


def test_an_activation_that_raises_leaves_nothing_of_the_last_one() -> None:
    instance = storing()
    instance.activate(REPLAYING)
    instance._instance.activate = None
    with pytest.raises(TypeError):
        instance.activate(REPLAYING)
    assert fate_of(instance) is Fate.SENT


def test_an_activation_that_can_not_be_opened_leaves_nothing_of_the_last_one() -> None:
    """The SDK tells the instance nothing of it, but has asked for its info before."""
    instance = storing()
    instance.activate(REPLAYING)
    instance.get_info()
    assert fate_of(instance) is Fate.SENT


def beginning(**activities: int) -> WorkflowActivationCompletion:
    """Of a workflow that begins activities of these numbers."""
    completion = WorkflowActivationCompletion()
    for kind, number in activities.items():
        command = getattr(completion.successful.commands.add(), kind)
        command.seq = number
        command.arguments.append(VALUE)
        command.headers["h"].CopyFrom(VALUE)
    return completion


def fate_with(instance: WorkflowInstance, number: int, kind: str = "SCHEDULE_ACTIVITY_TASK") -> Fate:
    info = CommandInfo(CommandType.Value(f"COMMAND_TYPE_{kind}"), number)
    return getattr(instance.get_external_store_context(info).target, "fate", Fate.SENT)


def test_what_local_activities_are_given_is_told_from_all_else() -> None:
    instance = storing(beginning(schedule_activity=1, schedule_local_activity=2))
    instance.activate(NEW)
    assert [fate_with(instance, number) for number in (1, 2, 3)] == [Fate.SENT, Fate.LOCAL, Fate.SENT]
    assert fate_with(instance, 2, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION") is Fate.SENT, "those are numbered apart"
    assert fate_of(instance) is Fate.SENT, "a summary is in the history"
    instance.get_info()
    assert fate_with(instance, 2) is Fate.SENT, "as long as the next activation has not ended"
    instance.activate(NEW)
    instance._instance.completion = beginning(schedule_activity=2)
    instance.activate(NEW)
    assert fate_with(instance, 2) is Fate.SENT
    instance._instance.completion.failed.SetInParent()
    instance.activate(NEW)
    assert fate_with(instance, 2) is Fate.SENT


@pytest.mark.parametrize(("settings", "stored"), [({}, 3), ({"storage_replay_memory": 0}, 5)])
async def test_only_what_local_activities_are_given_stays_inline(
    settings: dict[str, Any], stored: int, tmp_path: Path
) -> None:
    """The way of the SDK's worker. The summary of a local activity is in the history, by its marker."""
    completion = beginning(schedule_activity=1, schedule_local_activity=2)
    completion.successful.commands[1].user_metadata.summary.CopyFrom(VALUE)
    instance = storing(completion)
    instance.activate(NEW)
    converter = envelope_data_converter(
        FakeKms(), namespace="n", storage=f"file://{tmp_path}", storage_threshold=0, **settings
    )
    aware = _CommandAwareDataConverter.create(instance, converter, converter, None)  # type: ignore[arg-type]
    await encode_completion(completion, aware, encode_headers=True, storage_concurrency_limit=1)
    kept, local = completion.successful.commands
    assert len(list(tmp_path.glob("*/*"))) == stored  # noqa: ASYNC240
    given = [*local.schedule_local_activity.arguments, local.schedule_local_activity.headers["h"]]
    assert [is_envelope(one) for one in given] == [stored == 3] * 2
    assert SECRET.encode() not in completion.SerializeToString()
    for one in (local.user_metadata.summary, kept.schedule_activity.arguments[0], kept.schedule_activity.headers["h"]):
        assert not is_envelope(one)


def test_a_workflow_that_is_given_up_is_freed() -> None:
    instance = storing()
    instance.activate(REPLAYING)
    run = weakref.ref(instance.get_external_store_context(None).target.run)
    instance.activate(REPLAYING)
    assert run() is not None
    assert instance.get_external_store_context(None).target.run is run()
    instance.activate(activation("remove_from_cache", is_replaying=False))
    assert run() is None


@pytest.mark.parametrize(
    ("act", "settings", "stored"),
    [
        (NEW, {}, 2),
        (REPLAYING, {}, 0),
        (REPLAYING, {"storage_replay_memory": 0}, 2),
        (ASKED, {}, 0),
        (ASKED, {"storage_query_threshold": 0}, 2),
        (ASKED, {"storage_query_threshold": "10KiB"}, 1),
    ],
)
async def test_what_temporal_does_not_keep_stays_inline_and_sealed(
    act: WorkflowActivation, settings: dict[str, Any], stored: int, tmp_path: Path
) -> None:
    """The way of the SDK's worker, from the completion to what its core gets."""
    completion = WorkflowActivationCompletion()
    for size in (100, 20_000):
        command = completion.successful.commands.add()
        payload = Payload(metadata={"encoding": b"json/plain"}, data=b'"%s"' % (SECRET.encode() * size))
        if act is ASKED:
            command.respond_to_query.succeeded.response.CopyFrom(payload)
        else:
            command.schedule_activity.arguments.append(payload)
    expected = [Payload.FromString(payload.SerializeToString()) for payload in payloads_of(completion)]
    converter = envelope_data_converter(
        FakeKms(), namespace="n", storage=f"file://{tmp_path}", storage_threshold=0, **settings
    )
    instance = storing(completion)
    instance.activate(act)
    aware = _CommandAwareDataConverter.create(instance, converter, converter, None)  # type: ignore[arg-type]
    await encoded(completion, aware)
    sent = list(payloads_of(completion))
    assert sum(is_envelope(payload) for payload in sent) == 2 - stored
    assert len(list(tmp_path.glob("*/*"))) == stored  # noqa: ASYNC240
    assert SECRET.encode() not in completion.SerializeToString()
    found = await converter._external_retrieve_payload_sequence(sent)
    assert await converter._decode_payload_sequence(found) == expected


def payloads_of(completion: WorkflowActivationCompletion) -> Iterator[Payload]:
    for command in completion.successful.commands:
        if command.HasField("respond_to_query"):
            yield command.respond_to_query.succeeded.response
        else:
            yield from command.schedule_activity.arguments


@pytest.mark.parametrize("former", [False, True])
async def test_the_applications_own_selector_decides_as_ever(former: bool, tmp_path: Path) -> None:
    asked: list[Any] = []
    driver = Greedy()

    def select(context: Any, payload: Payload) -> StorageDriver:
        asked.append(context)
        return driver

    settings: Any = {"former_storage": [f"file://{tmp_path}"]} if former else {}
    base = DataConverter(external_storage=ExternalStorage([driver], select, 0))
    converter = envelope_data_converter(FakeKms(), base=base, namespace="n", **settings)
    for act in (NEW, REPLAYING, ASKED):
        completion = WorkflowActivationCompletion()
        completion.successful.commands.add().schedule_activity.arguments.append(VALUE)
        instance = storing(completion)
        instance.activate(act)
        aware = _CommandAwareDataConverter.create(instance, converter, converter, None)  # type: ignore[arg-type]
        await encoded(completion, aware)
    assert len(driver.stored) == 3
    assert asked == [StorageDriverSelectContext(target=TARGET)] * 3
    told = [context.target for context in (*asked, *driver.contexts)]
    assert {type(target) for target in told} == {StorageDriverWorkflowInfo}, (
        "who asks for the class finds the SDK's own"
    )


class Ignorant(Instance):
    """Of an SDK that asks for no context, or for another one."""

    def __init__(self, completion: WorkflowActivationCompletion, context: Any) -> None:
        super().__init__(completion)
        self.context = context

    def get_external_store_context(self, command_info: Any) -> Any:
        return self.context


@pytest.mark.parametrize("context", [None, StorageDriverStoreContext(), "another"])
def test_a_context_that_is_not_known_is_left(context: Any) -> None:
    completion = WorkflowActivationCompletion()
    completion.successful.SetInParent()
    instance = GuardedInstance(Ignorant(completion, context))
    instance.activate(REPLAYING)
    assert instance.get_external_store_context(None) is context
