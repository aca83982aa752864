"""init, config.toml, genesis.cbor and network files that are wrong in every way seen: one sentence that names the file
or the field."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.toml_file import dump_toml
from p2p.client.network_file import dump_network, load_network
from p2p.peer.config import SETTINGS, load_config, make_config
from testnet.generate import Plan, generate
from tests import warm

EXAMPLE = Path(__file__).parents[2] / "bootstrap" / "networks" / "example.toml"
ADDRESS = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWGC6TvWhfajpX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5u"
TEXT = "network = \"n\"\nlisten = [\"/ip4/0.0.0.0/tcp/0\"]\n"


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(Plan(tmp_path_factory.mktemp("net"), 1, network="net.1"))[0] / "genesis.cbor"


def init(*argv: str) -> tuple[int, str]:
    from p2p.cli.main import main

    return main(["init", *argv]), ""


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that `init` says instead of a traceback."""
    status = init(*argv)[0]
    said = capsys.readouterr().err
    assert status in (2, 6), said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("path", ["/etc/hostname", "/etc/hostname/x", "/proc/self/x", "/dev/null", "x" * 300])
def test_init_where_no_folder_can_be(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, path).startswith("error: dir: ")


@pytest.mark.parametrize(
    "name",
    ["\U0001f600", "\u0e01 \u05d0", "a\"b\\c", "\x7f", "\x00", "a\nb", "\ud800", "\x1b[2J", "", "x" * 97, "\u202e"]
)
def test_what_init_writes_its_own_reader_takes_or_init_refuses_it(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if init(str(tmp_path / "peer"), "--network", name)[0] == 0:
        assert load_config(tmp_path / "peer").network == name
        assert name.isprintable()
    else:
        assert "error: network: " in capsys.readouterr().err
        assert not (tmp_path / "peer").exists(), "nothing half made"


@given(
    st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8"))),
    st.integers(-(2**63), 2**63 - 1)
)
def test_what_is_dumped_is_what_is_read(text: str, items: list[str], number: int) -> None:
    table = {"a": text, "b": items, "c": number}
    assert tomllib.loads(dump_toml(table)) == table


@given(st.dictionaries(
    st.sampled_from(sorted(SETTINGS)) | st.text(max_size=5),
    st.one_of(st.integers(), st.text(), st.booleans(), st.floats(), st.dates(), st.lists(st.text() | st.integers())),
    max_size=4,
))
def test_any_table_is_a_configuration_or_an_error_that_names_the_setting(table: dict[str, Any]) -> None:
    said = None
    try:
        make_config(Path("/nowhere"), {"network": "n", **table})
    except ConfigError as error:
        said = error
    assert said is None or said.field in table


@pytest.mark.parametrize(("raw", "words"), [
    (TEXT.encode("utf-16"), "UTF-16"), (TEXT.encode("utf-16-be"), "not"), (b"\xff\xfe\x00", "UTF-16"),
    (b"network = \"\xe9\"", "not UTF-8"),
    (b"network = ", "not TOML"), (b"a = " + b"[" * 5000, "not TOML"), (b"\0", "not TOML"),
    (b"#" * 300_000, "more than"),
    (b"network = \"n\"\nnetwrok = \"n\"\n", "no such setting"), (b"network = \"a b\"\n", "name of 1 to"),
    (b"network = \"n\"\nexpected_size = 0\n", "expected_size"),
    (b"network = \"n\"\nexpected_size = 10000000\n", "expected_size"),
    (b"network = \"n\"\nexpected_size = true\n", "expected_size"),
    (b"network = \"n\"\nprofile = \"a\\u0000b\"\n", "profile"),
    (b"network = \"n\"\nmodel_path = \"" + b"x" * 1000 + b"\"\n", "model_path"),
    (b"network = \"n\"\nlog_level = \"loud\"\n", "log_level"),
    (b"network = \"n\"\nlog_format = \"xml\"\n", "log_format"),
])
def test_a_damaged_configuration_is_one_sentence(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "config.toml").write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)[:-1]


def test_a_byte_order_mark_is_no_fault_and_a_folder_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load_config(tmp_path).network == "n"
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "other", "text", "folder", "absent"])
def test_a_damaged_genesis_file_is_named(
    tmp_path: Path, genesis: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, file = genesis.read_bytes(), tmp_path / "given.cbor"
    if damage == "folder":
        file.mkdir()
    elif damage != "absent":
        file.write_bytes(
            {"cut": raw[:100], "empty": b"", "longer": raw + b"\0", "other": encode([1, 2]), "text": b"hello"}[damage]
        )
    with pytest.raises(ConfigError, match=r"given\.cbor"):
        load_genesis(file)
    assert "given.cbor" in refused(capsys, str(tmp_path / "peer"), "--genesis", str(file))
    assert not (tmp_path / "peer").exists()
    if damage not in ("folder", "absent"):
        assert init(str(tmp_path / "peer"), "--network", "n")[0] == 0
        (tmp_path / "peer" / "genesis.cbor").write_bytes(file.read_bytes())
        argv = [sys.executable, "-m", "p2p", "serve", "--dir", str(tmp_path / "peer")]
        done = warm.run(argv, 60)
        assert done.returncode == 2
        assert "peer/genesis.cbor is not a genesis file" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_networks_name_comes_from_the_genesis_file(
    tmp_path: Path, genesis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(str(tmp_path / "peer"), "--genesis", str(genesis))[0] == 0
    assert load_config(tmp_path / "peer").network == load_genesis(genesis).name
    assert "error: network: " in refused(
        capsys, str(tmp_path / "other"), "--genesis", str(genesis), "--network", "another"
    )


def test_nothing_that_exists_is_overwritten(tmp_path: Path, genesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("node.key", "account.key", "config.toml", "genesis.cbor"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        assert name in refused(capsys, str(folder), "--genesis", str(genesis))
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"


# -- network files ---------------------------------------------------------------------------------------------------


def network_file(folder: Path, genesis: Path, **changes: Any) -> Path:
    (folder / "g.cbor").write_bytes(genesis.read_bytes())
    table = {**tomllib.loads(dump_network(load_genesis(genesis), (ADDRESS,), "g.cbor")), **changes}
    (folder / "network.toml").write_text(dump_toml({name: value for name, value in table.items() if value is not None}))
    return folder / "network.toml"


def test_a_network_file_is_all_that_is_needed_to_join(
    tmp_path: Path, genesis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = network_file(tmp_path, genesis)
    assert init(str(tmp_path / "peer"), "--network-file", str(file))[0] == 0
    config = load_config(tmp_path / "peer")
    assert (config.network, config.bootstrap) == (load_genesis(genesis).name, (ADDRESS,))
    assert load_genesis(tmp_path / "peer" / "genesis.cbor") == load_genesis(genesis)
    assert "--network" in refused(capsys, str(tmp_path / "b"), "--network-file", str(file), "--network", "other")


@pytest.mark.parametrize(("changes", "words"), [
    ({"genesis_sha256": "00" * 32}, "another hash"), ({"genesis_sha256": "zz"}, "hexadecimal"),
    ({"genesis_sha256": 5}, "hexadecimal"),
    ({"network": "other"}, "another hash"), ({"network": None}, "is missing"), ({"bootstrap": None}, "is missing"),
    ({"bootstrap": ["x"]}, "multiaddr"),
    ({"colour": "red"}, "is not known"), ({"genesis_file": "../g.cbor"}, "same folder"),
    ({"genesis_file": None}, "--genesis"),
    ({"genesis_file": "absent.cbor"}, "absent.cbor"), ({"genesis_file": 7}, "same folder"),
])
def test_a_wrong_network_file_is_one_sentence(
    tmp_path: Path, genesis: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(
        capsys, str(tmp_path / "peer"), "--network-file", str(network_file(tmp_path, genesis, **changes))
    )
    assert not (tmp_path / "peer").exists()


def test_the_example_says_every_key_and_no_other(genesis: Path) -> None:
    found = load_network(EXAMPLE)
    assert found.bootstrap
    said = re.sub(r"^# (genesis_\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.M)  # what may be left out
    assert set(tomllib.loads(said)) == set(
        tomllib.loads(dump_network(load_genesis(genesis), (ADDRESS,), "g.cbor"))
    )
    with pytest.raises(FolkmootError):
        found.genesis(genesis)


def test_json_errors_are_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init("/etc/hostname", "--json")[0] == 2
    assert json.loads(capsys.readouterr().err)["error"]["field"] == "dir"
    assert Genesis


def test_a_network_may_be_named_with_its_hash(tmp_path: Path) -> None:
    """It was accepted when it was read and then never the name of its own genesis file."""
    folder = generate(Plan(tmp_path, 1, network="net.1"))[0]
    genesis = load_genesis(folder / "genesis.cbor")
    for name, right in ((genesis.name, True), (str(genesis.network), True), (f"{genesis.name}@{'0' * 32}", False)):
        file = tmp_path / "network.toml"
        file.write_text(dump_network(genesis, ()).replace(f'"{genesis.network}"', f'"{name}"'))
        if right:
            assert load_network(file).genesis(folder / "genesis.cbor") == genesis
        else:
            with pytest.raises(ConfigError):
                load_network(file).genesis(folder / "genesis.cbor")
