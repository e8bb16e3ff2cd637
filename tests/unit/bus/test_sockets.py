"""Messages in and out of real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from bus.sockets import is_readable, receive, send

Socket = zmq.Socket[bytes]


@pytest.fixture
def ends() -> Iterator[tuple[Socket, Socket]]:
    """Two sockets with room for one message between them on either side."""
    context: zmq.Context[Socket] = zmq.Context()
    here, there = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for socket in (here, there):
        socket.set_hwm(1)
    here.bind("inproc://here")
    there.connect("inproc://here")
    yield here, there
    context.destroy(linger=0)


@pytest.mark.parametrize("frames", [[b"one"], [b"topic", b"head"], [b"topic", b"head", bytes(100_000)], [b"", b"", b""]])
def test_a_message_arrives_whole_and_alone(ends: tuple[Socket, Socket], frames: list[bytes]) -> None:
    here, there = ends
    assert not is_readable(there)
    send(here, frames)
    send(here, [b"next"])
    assert is_readable(there)
    assert receive(there) == frames
    assert receive(there) == [b"next"]
    assert not is_readable(there)


def test_where_there_is_no_message_nothing_is_waited_for(ends: tuple[Socket, Socket]) -> None:
    with pytest.raises(zmq.Again):
        receive(ends[1])


def test_where_there_is_no_room_nothing_is_waited_for_and_nothing_is_sent_in_part(ends: tuple[Socket, Socket]) -> None:
    here, there = ends
    sent = 0
    with pytest.raises(zmq.Again):
        while True:
            send(here, [b"topic", b"%d" % sent])
            sent += 1
    assert [receive(there) for _ in range(sent)] == [[b"topic", b"%d" % number] for number in range(sent)]
    assert not is_readable(there)
