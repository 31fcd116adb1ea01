"""What a client sends: no null memo field, which Temporal's server would drop and can't see once it is sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
    StartWorkflowInput,
)
from temporalio.converter import (
    DataConverter,
    DefaultPayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec import EnvelopePlugin
from envelope_codec.temporal.client_memos import NullMemos
from envelope_codec.testing import FakeKms

NULL = Payload(metadata={"encoding": b"json/plain"}, data=b"null")
VALUE = Payload(metadata={"encoding": b"json/plain"}, data=b'"v"')
GIVEN: dict[str, Any] = {"none": None, "list": [], "bytes": b"", "null": NULL, "value": VALUE}
GIVEN |= {"text": "", "zero": 0, "false": False, "empty": {}, "words": "null"}
KEPT = ["value", "text", "zero", "false", "empty", "words"]


@dataclasses.dataclass
class Call:
    """What these tests need of the input of a call of the SDK's client."""

    id: str = "w"
    memo: Any = None
    schedule: Any = None
    start_workflow_input: Any = None
    updater: Any = None


class Last(OutboundInterceptor):
    """Where the client would send."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.given: list[Any] = []

    async def start_workflow(self, input: Any) -> Any:
        self.given.append(input.memo)

    async def start_update_with_start_workflow(self, input: Any) -> Any:
        self.given.append(input.start_workflow_input.memo)

    async def create_schedule(self, input: Any) -> Any:
        self.given += [input.memo, input.schedule.action.memo]

    async def update_schedule(self, input: Any) -> None:
        update = input.updater(None)
        update = await update
        self.given.append(update and update.schedule.action.memo)


async def interceptor(converter: DataConverter = DataConverter.default) -> tuple[Any, Last]:
    last = Last(await Client.connect("127.0.0.1:1", lazy=True, data_converter=converter))
    return NullMemos().intercept_client(last), last


def schedule(memo: Any) -> Schedule:
    action = ScheduleActionStartWorkflow("Work", id="w", task_queue="q", memo=memo)
    return Schedule(action=action, spec=ScheduleSpec())


async def test_null_fields_of_a_start_are_left_out() -> None:
    ours, last = await interceptor()
    given = Call(memo=dict(GIVEN))
    theirs = given.memo
    await ours.start_workflow(given)
    await ours.start_update_with_start_workflow(Call(start_workflow_input=Call(memo=theirs)))
    assert [list(memo) for memo in last.given] == [KEPT, KEPT]
    assert list(theirs) == list(GIVEN), "the caller's own stays as it is"


@pytest.mark.parametrize("memo", [None, {}])
async def test_no_memo_stays_none(memo: Any) -> None:
    ours, last = await interceptor()
    await ours.start_workflow(Call(memo=memo))
    await ours.create_schedule(Call(memo=memo, schedule=schedule(memo)))
    assert last.given == [memo, memo, memo]


async def test_null_fields_of_schedules_are_left_out() -> None:
    ours, last = await interceptor()
    made = schedule(GIVEN)
    await ours.create_schedule(Call(memo=GIVEN, schedule=made))
    assert [list(memo) for memo in last.given] == [KEPT, KEPT]
    action = cast(ScheduleActionStartWorkflow, made.action)
    assert action.memo == GIVEN, "the caller's own stays as it is"


async def test_null_fields_of_changed_schedules_are_left_out() -> None:
    ours, last = await interceptor()
    update = ScheduleUpdate(schedule=schedule(GIVEN))

    async def changing(given: Any) -> ScheduleUpdate | None:
        return update

    for updater in (lambda given: update, changing, lambda given: None):
        await ours.update_schedule(Call(updater=updater))
    assert [memo and list(memo) for memo in last.given] == [KEPT, KEPT, None]


async def test_it_goes_by_the_users_payload_converter_in_its_context() -> None:
    class Own(DefaultPayloadConverter, WithSerializationContext):
        context: SerializationContext | None = None

        def with_context(self, context: SerializationContext) -> Own:
            new = Own()
            new.context = context
            return new

        def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
            if self.context is None:
                raise RuntimeError("no context")
            assert isinstance(self.context, WorkflowSerializationContext)
            seen.append(self.context)
            return [NULL if value == "nothing" else VALUE for value in values]

    seen: list[Any] = []
    ours, last = await interceptor(dataclasses.replace(DataConverter.default, payload_converter_class=Own))
    await ours.start_workflow(Call(memo={"gone": "nothing", "kept": None}))
    assert list(last.given[0]) == ["kept"]
    assert {(context.namespace, context.workflow_id) for context in seen} == {("default", "w")}
    await ours.create_schedule(Call(memo={"gone": "nothing"}, schedule=schedule(None)))
    assert last.given[1] == {"gone": "nothing"}, "what can't be converted is the SDK's to tell"


async def test_plugin_leaves_them_out_behind_the_users_interceptors_and_once() -> None:
    class Adding(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return _Adding(next)

    class _Adding(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> Any:
            input.memo = {"added": None, "kept": "v"}
            return await super().start_workflow(input)

    with EnvelopePlugin(FakeKms()) as plugin, EnvelopePlugin(FakeKms(), sealing=False) as reading:
        made = await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin], interceptors=[Adding()])
        again = Client(**made.config(active_config=True))
        for client in (made, again):
            interceptors = client.config(active_config=True)["interceptors"]
            assert [type(each).__name__ for each in interceptors] == ["Guard", "Adding", "NullMemos", "ClientPayloads"]
        plain = await Client.connect("127.0.0.1:1", lazy=True, plugins=[reading])
        assert not any(isinstance(each, NullMemos) for each in plain.config(active_config=True)["interceptors"])
