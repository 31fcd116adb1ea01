"""What is taken for payloads, and that what comes back is what went in."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads

from envelope_codec.server.payloads.protobuf_json import BASE64, count_tree_bytes, parse_payloads, render_payloads
from envelope_codec.server.web.refusal import Refusal

LIMIT = 50

payloads = st.lists(
    st.builds(
        lambda metadata, data, sizes: Payload(
            metadata=metadata,
            data=data,
            external_payloads=[Payload.ExternalPayloadDetails(size_bytes=size) for size in sizes],
        ),
        st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3),
        st.binary(max_size=40),
        st.lists(st.integers(0, 2**62), max_size=2),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(payloads)
def test_what_protobuf_writes_is_read_and_what_is_written_protobuf_reads(given: list[Payload]) -> None:
    written = json_format.MessageToJson(Payloads(payloads=given)).encode()
    assert parse_payloads(written, LIMIT) == given
    assert list(json_format.Parse(render_payloads(given), Payloads()).payloads) == given


FORMS = [
    "{}",
    '{"payloads": []}',
    '{"payloads": null}',
    '{"payloads": [{}]}',
    '{"payloads": [{"data": null, "metadata": null}]}',
    '{"payloads": [{"data": "aGk"}]}',
    '{"payloads": [{"data": "aGk="}]}',
    '{"payloads": [{"data": "-_8="}, {"data": "+/8="}]}',
    '{"payloads": [{"metadata": {"a": "-_8"}}]}',
    '{"payloads": [{"externalPayloads": [{"sizeBytes": "7"}]}]}',
    '{"payloads": [{"external_payloads": [{"size_bytes": 7}]}]}',
    '{"payloads": [{"metadata": {"[[[[[[[[[[": "aGk="}}]}',
    '{"payloads": [{"metadata": {"]\\"[[[[[[[[[[\\\\": "aGk="}}]}',
    ' \n{"payloads"\t:[{"data":"","metadata":{"encoding":"anNvbi9wbGFpbg=="}}]} ',
]


@pytest.mark.parametrize("text", FORMS)
def test_protobuf_json_is_taken_in_all_its_forms(text: str) -> None:
    assert parse_payloads(text.encode(), LIMIT) == list(json_format.Parse(text, Payloads()).payloads)


MALFORMED = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"payloads"',
    b"{",
    b"\xff",
    b'\xef\xbb\xbf{"payloads": []}',
    b'{"payloads": [null]}',
    b'{"payloads": [7]}',
    b'{"payloads": {}}',
    b'{"payloads": "x"}',
    b'{"payload": []}',
    b'{"payloads": [], "more": 1}',
    b'{"payloads": [{"data": "aGk=", "more": ""}]}',
    b'{"payloads": [{"data": 7}]}',
    b'{"payloads": [{"data": ["a"]}]}',
    b'{"payloads": [{"metadata": []}]}',
    b'{"payloads": [{"metadata": {"a": null}}]}',
    b'{"payloads": [{"metadata": {"a": {"b": "c"}}}]}',
    b'{"payloads": [{"metadata": {"\\ud800": ""}}]}',
    # Protobuf's own parser skips what is no base64, and so makes another payload of it.
    b'{"payloads": [{"data": "!!!!"}]}',
    b'{"payloads": [{"data": "aG k="}]}',
    b'{"payloads": [{"data": "aGk=aGk="}]}',
    b'{"payloads": [{"data": "aGk=\\n"}]}',
    b'{"payloads": [{"data": "a"}]}',
    b'{"payloads": [{"data": "aGk=="}]}',
    b'{"payloads": [{"data": "aG="}]}',
    b'{"payloads": [{"data": "="}]}',
    b'{"payloads": [{"data": "a==="}]}',
    b'{"payloads": [{"data": "+_8="}]}',
    b'{"payloads": [{"metadata": {"a": "?"}}]}',
    b'{"payloads": [{"metadata": {"a": "", "a": ""}}]}',
    b'{"payloads": [], "payloads": []}',
    b'{"payloads": [{"data": "", "data": ""}]}',
    b'{"payloads": [{"data": NaN}]}',
    b'{"payloads": [{"externalPayloads": [{"sizeBytes": "x"}]}]}',
    b'{"payloads": [{"externalPayloads": [{"sizeBytes": Infinity}]}]}',
]


@pytest.mark.parametrize("body", MALFORMED)
def test_what_is_no_protobuf_json_of_payloads_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        parse_payloads(body, LIMIT)
    assert (raised.value.status, raised.value.code) == (400, "malformed")


MIB = 2**20
HUGE = [
    b"[" * MIB,
    b'{"payloads":' * (MIB // 12),
    b'{"payloads": [' + b"[]," * MIB + b"[]]}",
    b'{"payloads": [' + b"0," * MIB + b"0]}",
    b'{"payloads": [' + b'"",' * MIB + b'""]}',
    b'{"payloads": [{"metadata": {' + b",".join(b'"%d": ""' % n for n in range(MIB // 8)) + b"}}]}",
    b'{"payloads": ' + b"7" * MIB + b"}",
]


@pytest.mark.parametrize("body", HUGE, ids=lambda body: body[:24].decode())
def test_a_text_that_would_be_a_large_tree_is_refused_before_it_is_one(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(Refusal) as raised:
        parse_payloads(body, LIMIT)
    assert raised.value.code == "malformed"
    assert time.process_time() - begun < 5  # the slowest takes some milliseconds


def test_more_payloads_than_allowed_are_refused_and_no_fewer() -> None:
    assert len(parse_payloads(json.dumps({"payloads": [{}] * LIMIT}).encode(), LIMIT)) == LIMIT
    with pytest.raises(Refusal) as raised:
        parse_payloads(json.dumps({"payloads": [{}] * (LIMIT + 1)}).encode(), LIMIT)
    assert (raised.value.status, raised.value.code) == (413, "too_many_payloads")


names = st.sampled_from(["payloads", "data", "metadata", "externalPayloads", "sizeBytes", "a"])
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_no_json_does_anything_but_be_taken_or_refused(tree: object) -> None:
    try:
        taken = parse_payloads(json.dumps(tree).encode(), LIMIT)
    except Refusal:
        return
    assert taken == list(json_format.Parse(json.dumps(tree), Payloads()).payloads)


BODIES = {
    "base64 of the other alphabet": b'{"payloads":[{"data":"' + b"-_-_" * 2**18 + b'"}]}',
    "nearly base64": b'{"payloads":[{"data":"' + b"a" * 2**20 + b'!"}]}',
    "escapes": b'{"payloads":[{"metadata":{"' + b"\\n" * 2**19 + b'":""}}]}',
    "longer escapes": b'{"payloads":[{"metadata":{"' + b"\\u0001" * 2**17 + b'":""}}]}',
    "a wide character": b'{"payloads":[{"metadata":{"' + b"a" * 2**20 + "😀".encode() + b'":""}}]}',
    "no base64, and a wide character": b'{"payloads":[{"data":"' + b"a" * 2**20 + "😀".encode() + b'"}]}',
    "two-byte characters": b'{"payloads":[{"metadata":{"' + "é".encode() * 2**19 + b'":""}}]}',
    "blanks": b'{"payloads":[' + b" " * 2**20 + b"]}",
    "standard base64": b'{"payloads":[{"data":"' + b"aaaa" * 2**18 + b'"}]}',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_takes_no_more_memory_than_seven_times_what_counts(kind: str) -> None:
    """Measured in a process of its own, since re and protobuf take memory that Python does not trace."""
    script = """
import sys
from pathlib import Path
from envelope_codec.server.payloads.protobuf_json import BASE64, parse_payloads, render_payloads, count_tree_bytes
from envelope_codec.server.web.refusal import Refusal

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

data = [bytearray(sys.stdin.buffer.read())]
counted, before = len(data[0]) + count_tree_bytes(data[0]), peak()
try:
    rendered = render_payloads(parse_payloads(data.pop(), 1_000))
except Refusal:
    pass
print((peak() - before) / counted + 1)
"""
    body = BODIES[kind]
    done = subprocess.run([sys.executable, "-c", script], input=body, capture_output=True, check=True)
    assert float(done.stdout) < 8.5, kind  # seven, and what a process of 1 MiB bodies takes beside them


@pytest.mark.parametrize("length", range(6))
def test_what_is_base64_is_told_as_the_description_says(length: int) -> None:
    told = re.compile(BASE64)
    for text in map("".join, itertools.product("A+-=é", repeat=length)):
        tree = json.dumps({"payloads": [{"data": text}]}).encode()
        if told.fullmatch(text):
            parse_payloads(tree, 1)
        else:
            with pytest.raises(Refusal):
                parse_payloads(tree, 1)


@pytest.mark.parametrize(
    "name", ['a"b', "a\\", 'a\\"[[[[[[[[[[[[[[[[', "[" * 100, "\\" * 7 + '"' + "{" * 100, '"', "\\\\", "é😀\x7f"]
)
def test_what_is_in_quotes_are_no_brackets(name: str) -> None:
    payload = Payload(metadata={name: b"x"}, data=b"y")
    body = render_payloads([payload])
    assert parse_payloads(body, 1) == [payload]
    assert parse_payloads(json.dumps(json.loads(body)).encode(), 1) == [payload]


def test_a_small_text_that_is_a_large_tree_is_counted_as_one() -> None:
    large = b'{"payloads":[{"metadata":{' + b",".join(b'"%d":""' % n for n in range(1_000)) + b"}}]}"
    assert count_tree_bytes(large) > 20 * len(large)
    assert count_tree_bytes(b'{"payloads":[{"data":"' + b"x" * 10_000 + b'"}]}') < 1_000
