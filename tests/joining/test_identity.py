"""Which network is meant: only the right bytes pass, and a name is never a stranger's word."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from nacl.pwhash import argon2id

from p2p.base import locked_key
from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError, RemoteProtocolError
from p2p.base.genesis import Genesis, GenesisAccount, load_genesis
from p2p.base.toml_file import dump_toml
from p2p.client.network_file import dump_network, load_network
from p2p.joining import target
from p2p.joining.folder import known_genesis, prepare
from p2p.joining.genesis_fetch import fetch_part_by_part
from p2p.joining.identity import Identity
from p2p.joining.target import find_target, shipped
from p2p.peer.config import load_config
from p2p.wire.answers.genesis import GENESIS_CHUNK, genesis_answer
from testnet.generate import Plan, generate

PEER = "/ip4/192.0.2.7/tcp/7470/p2p/12D3KooWGC6TvWhfajpX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5u"
SETTINGS = {"bootstrap": [PEER], "listen": ["/ip4/127.0.0.1/tcp/0"]}


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Genesis:
    return load_genesis(generate(Plan(tmp_path_factory.mktemp("net"), 1))[0] / "genesis.cbor")


def forged(genesis: Genesis) -> bytes:
    """The same network with money for somebody else, under the same name."""
    import msgspec

    return encode(msgspec.structs.replace(genesis, accounts=(GenesisAccount(b"\x07" * 32, 10**12),)))


def test_the_right_file_passes_whichever_way_it_is_known(genesis: Genesis) -> None:
    raw = encode(genesis)
    known = (
        Identity(genesis.network), Identity(sha256=sha256(raw).hexdigest()), Identity(digits=genesis.hash.hex()),
        Identity(digits=genesis.hash.hex()[:32]), Identity(),
    )
    for identity in known:
        assert identity.check(raw, "peer x").network == genesis.network
    assert [identity.is_known for identity in known] == [True] * 4 + [False]


def test_another_network_under_the_same_name_is_refused(genesis: Genesis) -> None:
    other = forged(genesis)
    for identity in (
        Identity(genesis.network), Identity(sha256=sha256(encode(genesis)).hexdigest()),
        Identity(digits=genesis.hash.hex()[:32]),
    ):
        with pytest.raises(RemoteProtocolError, match="is wanted") as caught:
            identity.check(other, "peer x")
        assert caught.value.code == "other_genesis"
    assert Identity().check(other, "peer x").network != genesis.network, "only the user can tell, by the hash"


def test_each_thing_that_is_known_must_hold(genesis: Genesis) -> None:
    raw, right = encode(genesis), Identity(genesis.network)
    for wrong in (Identity(digits="1" * 32), Identity(sha256="1" * 64)):
        with pytest.raises(RemoteProtocolError, match="1111 is wanted"):
            right.joined(wrong).check(raw, "peer x")


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 100, b"\x9b" + b"\xff" * 8, b"hello"])
def test_what_is_no_genesis_is_refused_in_a_sentence(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no genesis file"):
        Identity().check(raw, "peer x")


def test_bytes_that_are_not_canonical_are_refused(genesis: Genesis) -> None:
    raw = encode(genesis)
    assert raw[0] >> 5 == 4, "an array"
    longer = bytes([0x98, raw[0] & 31]) + raw[1:]  # the same array with a longer head
    with pytest.raises(RemoteProtocolError):
        Identity().check(longer, "peer x")


def test_a_target_is_an_address_a_file_or_a_shipped_name(tmp_path: Path, genesis: Genesis) -> None:
    assert find_target(PEER).bootstrap == (PEER,)
    assert not find_target(PEER).identity.is_known
    assert find_target(PEER, genesis.network).identity.network == genesis.network
    file = tmp_path / "network.toml"
    file.write_text(dump_network(genesis, (PEER,)))
    found = find_target(str(file))
    assert (found.identity.network, found.bootstrap) == (genesis.network, (PEER,))
    assert found.identity.sha256 == sha256(encode(genesis)).hexdigest()
    (tmp_path / "g.cbor").write_bytes(encode(genesis))
    file.write_text(dump_network(genesis, (PEER,), "g.cbor"))
    assert find_target(str(file)).genesis_file == tmp_path / "g.cbor"


def test_a_network_that_comes_with_the_program_is_found_by_its_name(
    tmp_path: Path, genesis: Genesis, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target, "NETWORKS", tmp_path)
    (tmp_path / "village.toml").write_text(dump_network(genesis, (PEER,)))
    assert list(shipped()) == ["village"]
    assert find_target("village").identity.network == genesis.network
    with pytest.raises(ConfigError) as caught:
        find_target("village", "other@" + "1" * 32)
    assert caught.value.field == "genesis_hash"


def test_the_example_is_no_network_that_could_be_joined() -> None:
    assert (target.NETWORKS / "example.toml").exists()
    assert "example" not in shipped()
    with pytest.raises(ConfigError, match="no network that comes with this program"):
        find_target("example")


@pytest.mark.parametrize(("text", "given", "field"), [
    ("nowhere", None, "target"), ("/ip4/1.2.3.4/tcp/1", None, "target"), (PEER, "12", "genesis_hash"),
    (PEER, "x" * 64, "genesis_hash"),
])
def test_a_wrong_target_names_its_option(text: str, given: str | None, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_target(text, given)
    assert caught.value.field == field


@pytest.mark.parametrize(("table", "field"), [
    ({"network": "n", "bootstrap": [PEER]}, "network"),  # without any hash
    ({"network": "n@12", "bootstrap": [PEER]}, "network"),
    ({"network": "n@" + "1" * 32, "bootstrap": ["/ip4/1.2.3.4/tcp/1"]}, "bootstrap"),
    ({"network": "n@" + "1" * 32}, "network_file"),
    ({"network": "n", "bootstrap": [PEER], "genesis_sha256": "12"}, "genesis_sha256"),
])
def test_a_bad_network_file_names_its_key(tmp_path: Path, table: dict[str, object], field: str) -> None:
    file = tmp_path / "n.toml"
    file.write_text(dump_toml(table))
    with pytest.raises(ConfigError) as caught:
        load_network(file)
    assert caught.value.field == field


# -- the folder


def test_a_second_run_keeps_what_the_first_one_made(tmp_path: Path, genesis: Genesis) -> None:
    first = prepare(tmp_path / "p", genesis, SETTINGS)
    assert first.made == ("genesis.cbor", "config.toml", "account.key", "node.key")
    second = prepare(tmp_path / "p", genesis, SETTINGS)
    assert (second.made, second.node.public) == ((), first.node.public)
    assert known_genesis(tmp_path / "p", Identity(genesis.network)) is not None
    (tmp_path / "p" / "account.key").unlink()
    assert prepare(tmp_path / "p", genesis, SETTINGS).account is None, "its owner keeps it elsewhere"
    (tmp_path / "p" / "config.toml").unlink()  # as if the first run had been cut off
    assert prepare(tmp_path / "p", genesis, SETTINGS).made == ("config.toml",)


def test_a_new_account_key_is_locked_where_there_is_a_passphrase(
    tmp_path: Path, genesis: Genesis, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locked_key.lock, "__kwdefaults__", {
        "ops": argon2id.OPSLIMIT_MIN, "memory": argon2id.MEMLIMIT_MIN,
    })
    asked = list[Path]()

    def words(file: Path) -> bytes:
        asked.append(file)
        return b"five random words are good"

    first = prepare(tmp_path / "p", genesis, SETTINGS, new_passphrase=words).account
    second = prepare(tmp_path / "p", genesis, SETTINGS, new_passphrase=words).account
    assert first is not None
    assert second is not None
    assert asked == [tmp_path / "p" / "account.key"], "asked once, for the new key alone"
    assert (first.is_locked, second.is_locked) == (True, True)
    assert first.open().public == first.public == second.public, "who made it need not open it"
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="is locked, and there is no terminal"):
        second.open()
    plain = prepare(tmp_path / "q", genesis, SETTINGS).account
    assert plain is not None
    assert (plain.is_locked, plain.open().public) == (False, plain.public)


def test_a_folder_of_another_network_is_not_touched(tmp_path: Path, genesis: Genesis) -> None:
    prepare(tmp_path / "p", genesis, SETTINGS)
    with pytest.raises(ConfigError, match="not the one that you want to join"):
        known_genesis(tmp_path / "p", Identity("other@" + "1" * 32))


def test_settings_are_added_and_never_changed(tmp_path: Path, genesis: Genesis) -> None:
    folder = tmp_path / "p"
    prepare(folder, genesis, SETTINGS)
    file = folder / "config.toml"
    file.write_text("# mine\n" + file.read_text() + '[[ml_nodes]]\nname = "a"\nmodel = "m"\nurl = "http://127.0.0.1:1"\n')
    before = file.read_text()
    prepare(folder, genesis, {**SETTINGS, "listen": ["/ip4/127.0.0.1/tcp/9"]})
    assert file.read_text() == before, "what is there stays, also where it is not what was asked for"
    prepare(folder, genesis, {**SETTINGS, "ml_node": "http://127.0.0.1:2"})
    assert load_config(folder).ml_node == "http://127.0.0.1:2"
    assert "# mine" in file.read_text()
    with pytest.raises(ConfigError, match="change that line"):
        prepare(folder, genesis, {**SETTINGS, "ml_node": "http://127.0.0.1:3"})


# -- parts of the file, from a peer


async def test_a_large_file_comes_in_parts() -> None:
    raw = bytes(range(256)) * (GENESIS_CHUNK // 100)

    async def ask(body: dict[str, object]) -> dict[str, object]:
        part = genesis_answer(raw, int(str(body["offset"])))
        return {"size": part.size, "offset": part.offset, "data": part.data}

    assert await fetch_part_by_part(ask, "x") == raw


@pytest.mark.parametrize("answer", [
    {"size": 2, "offset": 1, "data": "00"}, {"size": 1, "offset": 0, "data": "0000"},
    {"size": 10**12, "offset": 0, "data": "00"}, {"size": 2, "offset": 0, "data": ""}, {"size": 2, "offset": 0},
    {"size": 0, "offset": 0, "data": "00"}, {"size": 3, "offset": 0, "data": "00"},  # byte by byte
])
async def test_parts_that_do_not_fit_end_the_fetch(answer: dict[str, object]) -> None:
    async def ask(body: dict[str, object]) -> dict[str, object]:
        return answer

    with pytest.raises(FolkmootError):
        await fetch_part_by_part(ask, "x")


def test_an_offset_beyond_the_end_is_refused() -> None:
    with pytest.raises(FolkmootError, match="there is no byte"):
        genesis_answer(b"abc", 3)
    assert replace(Identity("a"), sha256="b").joined(Identity(digits="c")) == Identity("a", "b", "c")
