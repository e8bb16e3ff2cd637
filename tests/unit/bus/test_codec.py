"""One way to pack, one strict way to unpack."""

from __future__ import annotations

import json
import os
import pkgutil
from importlib import import_module
from pathlib import Path

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bus.messages
from bus.clock import ManualClock
from bus.codec import Errors, Stamp, decode, encode
from bus.errors import WireError
from bus.limits import MAX_HEAD_BYTES, MAX_PAYLOAD_BYTES, SCHEMA_VERSION
from bus.messages import Body, Envelope, body_types
from bus.messages.actor import Probe
from bus.messages.jobs import AnyWork, Job, JobSubmit
from tests.examples import any_of, example

GOLDEN = Path(__file__).parents[2] / "data" / "wire" / "golden.json"
ENVELOPE = Envelope(version=SCHEMA_VERSION, sender="mic", incarnation="a.1", seq=3, mono_ns=5, wall_ns=6, turn="t", stream="mic")
ALL = sorted(body_types().items())


def test_every_message_module_is_registered_by_importing_the_package() -> None:
    before = set(body_types())
    for module in pkgutil.iter_modules(bus.messages.__path__):
        import_module(f"bus.messages.{module.name}")
    assert set(body_types()) == before


@pytest.mark.parametrize(("topic", "kind"), ALL)
def test_each_message_survives_the_wire(topic: str, kind: type[Body]) -> None:
    @given(any_of(kind), st.one_of(st.none(), st.binary(max_size=2000)))
    def survives(body: Body, payload: bytes | None) -> None:
        message = decode(encode(body, ENVELOPE, payload))
        assert (message.topic, message.envelope, message.body, message.payload) == (topic, ENVELOPE, body, payload)

    survives()


@given(any_of(Job))
def test_a_job_keeps_its_kind_of_work(job: Job) -> None:
    body = decode(encode(JobSubmit(job=job), ENVELOPE)).body
    assert isinstance(body, JobSubmit)
    assert type(body.job.work) is type(job.work)


def test_the_bytes_on_the_wire_are_those_of_the_last_release() -> None:
    now = {topic: [frame.hex() for frame in encode(example(kind), ENVELOPE, b"\x01\x02")] for topic, kind in ALL}
    now |= {f"work:{kind.__struct_config__.tag}": [msgpack.packb(msgspec.to_builtins(example(kind))).hex()] for kind in AnyWork.__args__}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(GOLDEN.read_text()), "the wire has changed: raise SCHEMA_VERSION, then run this test with UPDATE_GOLDEN=1"


def test_a_stamp_counts_each_topic_by_itself() -> None:
    stamp = Stamp("mic", "a.1", ManualClock())
    seqs = [decode(stamp.pack(body)).envelope.seq for body in (Probe(nonce="a"), example(JobSubmit), Probe(nonce="b"))]
    assert seqs == [0, 0, 1]


def test_a_key_narrows_the_topic_but_not_the_type() -> None:
    frames = Stamp("mic", "a.1").pack(Probe(nonce="n"), key="n")
    assert frames[0] == b"probe/n"
    assert decode(frames).topic == "probe"


def _good() -> list[bytes]:
    return encode(Probe(nonce="n"), ENVELOPE)


def _head(envelope: object, body: object) -> list[bytes]:
    return [b"probe", msgpack.packb([envelope, body])]


PLAIN = msgspec.to_builtins(ENVELOPE)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([], "0 frames"),
        ([b"probe"], "1 frames"),
        ([*_good(), b"", b""], "4 frames"),
        ([b"no.such.topic", _good()[1]], "unknown topic"),
        ([b"\xff\xfe", _good()[1]], "not ASCII"),
        ([b"x" * 500, _good()[1]], "topic of 500 bytes"),
        ([b"probe", b""], "not msgpack"),
        ([b"probe", _good()[1][:-1]], "not msgpack"),
        ([b"probe", _good()[1] + b"\x00"], "not msgpack"),
        ([b"probe", b"\x00" * (MAX_HEAD_BYTES + 1)], "head of"),
        ([*_good(), b"\x00" * (MAX_PAYLOAD_BYTES + 1)], "payload of"),
        ([b"probe", msgpack.packb(7)], "Expected `array`, got `int`"),
        ([b"probe", b"\x91" * 100 + b"\xc0"], "length 2, got 1"),
        ([b"probe", b"\x92" + b"\x91" * 500_000], "Expected `array`"),
        (_head(PLAIN, {}), "nonce"),
        (_head(PLAIN, {"nonce": 7}), "nonce"),
        (_head(PLAIN, {"nonce": "n", "more": 1}), "unknown field"),
        (_head([9, *PLAIN[1:]], {"nonce": "n"}), "schema version 9"),
        (_head([9, "another shape"], {"other": 7}), "schema version 9"),
        (_head(PLAIN[:3], {"nonce": "n"}), "probe"),
        (_head([*PLAIN, "more"], {"nonce": "n"}), "probe"),
    ],
)
def test_what_does_not_follow_the_protocol_is_one_typed_error(frames: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode(frames)


def test_a_deeply_nested_field_is_a_wrong_type() -> None:
    nested: object = "n"
    for _ in range(400):
        nested = [nested]
    with pytest.raises(WireError, match="Expected `str`, got `array`"):
        decode(_head(PLAIN, {"nonce": nested}))


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_frames_never_raise_anything_else(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(frames)


@given(st.data())
def test_a_changed_byte_never_raises_anything_else(data: st.DataObject) -> None:
    frames = [bytearray(frame) for frame in encode(example(JobSubmit), ENVELOPE, b"pcm")]
    frame = data.draw(st.sampled_from(frames))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode([bytes(frame) for frame in frames])
    except WireError:
        pass


def test_a_message_over_a_limit_is_not_even_sent() -> None:
    with pytest.raises(WireError, match="payload of"):
        encode(Probe(nonce="n"), ENVELOPE, b"\x00" * (MAX_PAYLOAD_BYTES + 1))


def test_errors_are_counted_by_kind_and_told_once() -> None:
    errors = Errors()
    assert [errors.count(WireError("probe: bad")), errors.count(WireError("probe: worse"))] == [True, False]
    assert errors.counts == {"probe": 2}


@pytest.mark.parametrize(("topic", "kind"), ALL)
def test_another_implementation_of_msgpack_reads_what_we_pack(topic: str, kind: type[Body]) -> None:
    body = example(kind)
    assert msgpack.unpackb(encode(body, ENVELOPE)[1]) == [msgspec.to_builtins(ENVELOPE), msgspec.to_builtins(body)]


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("job.extend", {"lease": "a", "job_id": "a", "deadline_ms": 2**62}),
        ("job.extend", {"lease": "a", "job_id": "a", "deadline_ms": -1}),
        ("audio.commit", {"epoch": "e", "sample": 481}),
        ("audio.commit", {"epoch": "", "sample": 480}),
        ("probe", {"nonce": "n" * 100_000}),
        ("control.restart", {"actor": "n" * 100_000}),
    ],
)
def test_what_no_handler_could_make_sense_of_is_refused_at_the_border_in_a_short_line(topic: str, body: dict[str, object]) -> None:
    with pytest.raises(WireError) as error:
        decode([topic.encode(), msgspec.msgpack.encode([PLAIN, body])])
    assert len(str(error.value)) < 300


def test_the_complaint_about_a_field_with_a_name_of_a_megabyte_is_short() -> None:
    with pytest.raises(WireError) as error:
        decode([b"probe", msgspec.msgpack.encode([PLAIN, {"nonce": "n", "x" * 1_000_000: 1}])])
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "probe", [Probe(nonce="\ud800"), example(JobSubmit).__class__(job=msgspec.structs.replace(example(Job), revision=2**70))]
)
def test_what_cannot_be_packed_is_a_typed_error_too(probe: Body) -> None:
    with pytest.raises(WireError):
        encode(probe, ENVELOPE)
