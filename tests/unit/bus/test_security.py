"""Keys stay private, names mean what they say, and nothing goes over tcp without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from actors.gate import EPISODE_S, TOLD_AT_MOST, Strangers
from bus.addresses import Addresses
from bus.errors import SetupError
from bus.security import Keys, TcpEndpoint, connect, parse_place, server_key

Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def other_key() -> str:
    return zmq.curve_keypair()[0].decode()


def test_keys_are_readable_by_their_user_alone(keys: Keys) -> None:
    keys.make("desk")
    keys.allow("attic", other_key())
    assert keys.directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in sorted(keys.directory.iterdir())] == [0o600, 0o600]


def test_the_pair_is_kept_and_its_secret_is_not_shown(keys: Keys) -> None:
    pair = keys.make("desk")
    assert keys.own() == pair
    assert zmq.curve_public(pair.secret) == pair.public
    assert pair.secret.decode() not in repr(pair)


def test_a_second_pair_is_not_made_over_the_first(keys: Keys) -> None:
    pair = keys.make("desk")
    with pytest.raises(SetupError, match="has keys already, as 'desk'"):
        keys.make("other")
    assert keys.own() == pair


def test_who_is_allowed_is_on_the_list_until_revoked(keys: Keys) -> None:
    first, second = other_key(), other_key()
    keys.allow("attic", first)
    keys.allow("cellar", second)
    assert keys.allowed() == {"attic": first.encode(), "cellar": second.encode()}
    keys.revoke("attic")
    assert keys.allowed() == {"cellar": second.encode()}


def test_a_machine_with_a_new_key_loses_the_old_one(keys: Keys) -> None:
    old, new = other_key(), other_key()
    keys.allow("attic", old)
    keys.allow("attic", new)
    assert keys.allowed() == {"attic": new.encode()}


def test_one_key_has_one_name(keys: Keys) -> None:
    key = other_key()
    keys.allow("attic", key)
    with pytest.raises(SetupError, match="known already, as 'attic'"):
        keys.allow("cellar", key)


@pytest.mark.parametrize("key", ["", "short", "x" * 39, "x" * 41, "é" * 40, " " * 40])
def test_what_is_no_key_is_not_taken_for_one(keys: Keys, key: str) -> None:
    with pytest.raises(SetupError, match="is not a key"):
        keys.allow("attic", key)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\nb", "x" * 33])
def test_a_name_stands_on_one_line(keys: Keys, name: str) -> None:
    with pytest.raises(SetupError, match="cannot be the name"):
        keys.allow(name, other_key())


def test_a_list_that_was_damaged_says_so(keys: Keys) -> None:
    keys.allow("attic", other_key())
    (keys.directory / "allowed").write_text("attic\n")
    with pytest.raises(SetupError, match="write one NAME KEY"):
        keys.allowed()


def test_a_server_has_to_be_the_one_that_was_meant(keys: Keys) -> None:
    with pytest.raises(SetupError, match="keys are here of no other machine"):
        server_key(keys, "")
    desk, cellar = other_key(), other_key()
    keys.allow("desk", desk)
    assert server_key(keys, "") == desk.encode()
    keys.allow("cellar", cellar)
    assert server_key(keys, "cellar") == cellar.encode()
    with pytest.raises(SetupError, match="connect to NAME@HOST:PORT; keys are here of cellar, desk"):
        server_key(keys, "")


@pytest.mark.parametrize("place", ["", "host", "host:", ":7700", "host:0", "host:65534", "host:x"])
def test_a_place_has_a_host_and_room_for_all_ports(place: str) -> None:
    with pytest.raises(SetupError, match="write HOST:PORT"):
        parse_place(place)


def test_nothing_connects_to_tcp_without_keys(context: Context) -> None:
    with context.socket(zmq.SUB) as socket, pytest.raises(SetupError, match="without keys"):
        connect(socket, "tcp://127.0.0.1:7700")


def test_the_addresses_of_another_machine_come_with_its_key_and_ours(addresses: Addresses) -> None:
    keys = Keys(addresses.keys_dir)
    pair = keys.make("attic")
    theirs = other_key()
    keys.allow("desk", theirs)
    remote = Addresses(addresses.runtime_dir, addresses.state_dir, "desk@10.0.0.5:7700")
    endpoints = [remote.events_out, remote.events_in, remote.jobs]
    assert endpoints == ["tcp://10.0.0.5:7700", "tcp://10.0.0.5:7701", "tcp://10.0.0.5:7702"]
    for endpoint in endpoints:
        assert isinstance(endpoint, TcpEndpoint)
        assert (endpoint.client, endpoint.server_key) == (pair, theirs.encode())


def test_a_stranger_that_knocks_again_and_again_is_told_of_once_an_episode() -> None:
    strangers = Strangers()
    news = [strangers.refuse("key A", 0.0), strangers.refuse("key A", 1.0), strangers.refuse("key B", 2.0)]
    news += [strangers.refuse("key A", 3.0 + EPISODE_S)]
    assert news == [True, False, True, True]
    assert (strangers.refused, strangers.last) == (4, "key A")


def test_strangers_with_a_new_key_for_each_try_do_not_fill_the_log() -> None:
    strangers = Strangers()
    news = [strangers.refuse(f"key {number}", number / 1000) for number in range(1000)]
    assert sum(news) == TOLD_AT_MOST
    assert strangers.refused == 1000
