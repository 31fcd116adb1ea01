"""Names of leases: what one lease vouches for."""

from __future__ import annotations

from envelope_codec.envelope import CONTEXT_ID, NAMESPACE
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.witness import WrapWitness
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import wrapped_by


def test_a_request_has_the_whole_context_but_the_records_id() -> None:
    kms = FakeKms()
    record, _ = wrapped_by(kms, context={"tenant": "t"})
    request = Request.of("unwrap", kms, kms.key_id, record)
    expected = {name: value for name, value in record.kms_context.items() if name != CONTEXT_ID}
    assert dict(request.context) == expected
    assert {"tenant", NAMESPACE, "envelope-codec:purpose"} <= expected.keys()


def test_records_of_one_request_share_it_and_other_objects_do_not() -> None:
    kms, other = FakeKms("key"), FakeKms("key")
    first, second = (wrapped_by(kms)[0] for _ in range(2))
    assert Request.of("unwrap", kms, "key", first) == Request.of("unwrap", kms, "key", second)
    assert Request.of("unwrap", kms, "key", first) != Request.of("unwrap", other, "key", first)
    assert Request.of("unwrap", kms, "key", first) != Request.of("wrap", kms, "key", first)


def test_the_records_id_is_in_the_name_only_where_no_version_is_proved() -> None:
    kms = FakeKms()
    record, _ = wrapped_by(kms)
    request = Request.of("unwrap", kms, kms.key_id, record)
    proved = LeaseName.of(request, WrapWitness(kms, kms.key_id, (), "1"), record, 300.0)
    unproved = LeaseName.of(request, WrapWitness(kms, kms.key_id, (), None), record, 300.0)
    assert (proved.version, proved.record_id) == ("1", b"")
    assert (unproved.version, unproved.record_id) == (None, record.id)
