"""The inventory of a document, as programs read it."""

from __future__ import annotations

from envelope_codec.envelope import Recipient, parse
from tests.support.inspected_payloads import CREATED, Run, as_json, envelope


def test_the_header_of_an_envelope_is_told_whole(run: Run) -> None:
    sealed = envelope(
        Recipient("arn:aws:kms:us-east-1:111122223333:key/1", "", b"c" * 184),
        Recipient("hashivault://k", "12", b"d" * 99),
        context={"temporal-namespace": "billing", "tenant": "t-1"},
    )
    outcome = run(as_json(sealed), "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = parse(sealed.metadata, sealed.data)
    assert found is not None
    assert outcome.document == {
        "format": "envelope-codec/inspect-1",
        "payloads": [
            {
                "place": ".",
                "kind": "envelope",
                "encoding": "binary/envelope-v1",
                "version": 1,
                "record": 0,
                "data_bytes": len(sealed.data),
                "data_key": True,
            }
        ],
        "records": [
            {
                "purpose": "wrapping-key",
                "created": CREATED,
                "created_utc": "2023-11-14T22:13:20Z",
                "id": found.record.id.hex(),
                "context": {"temporal-namespace": "billing", "tenant": "t-1"},
                "recipients": [
                    {
                        "key_id": "arn:aws:kms:us-east-1:111122223333:key/1",
                        "key_version": "",
                        "ciphertext_bytes": 184,
                    },
                    {"key_id": "hashivault://k", "key_version": "12", "ciphertext_bytes": 99},
                ],
            }
        ],
        "failures_in_clear": [],
        "summary": {
            "payloads": 1,
            "envelopes": 1,
            "records": 1,
            "keys": [
                {"key_id": "arn:aws:kms:us-east-1:111122223333:key/1", "key_versions": [], "envelopes": 1},
                {"key_id": "hashivault://k", "key_versions": ["12"], "envelopes": 1},
            ],
            "malformed": 0,
            "later_versions": 0,
            "legacy": 0,
            "clear": 0,
            "clear_by_encoding": {},
            "temporal": 0,
            "temporal_by_name": {},
            "failures_in_clear": 0,
        },
    }
