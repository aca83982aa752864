"""[[ml_nodes]] in config.toml: what is refused, and how the file is changed without losing a line of its owner's."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_ML_NODES
from p2p.peer.config import load_config, make_config
from p2p.peer.ml_nodes import one_node
from p2p.peer.ml_settings import DEFAULT, MlNodeSettings, add_entry, remove_entry

TEXT = '# mine\nlisten = ["/ip4/0.0.0.0/tcp/0"]  # all\nmodel = "m"\n'


def entry(name: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "model": "m", "url": "http://127.0.0.1:8000", **more}


def test_the_old_settings_are_one_node_and_the_others_come_after(tmp_path: Path) -> None:
    alone = make_config(tmp_path, {"ml_node": "http://127.0.0.1:1"})
    assert [one.name for one in alone.every_ml_node] == [DEFAULT]
    both = make_config(tmp_path, {"ml_node": "http://127.0.0.1:1", "ml_nodes": [entry()]})
    assert [one.name for one in both.every_ml_node] == [DEFAULT, "one"]
    assert make_config(tmp_path, {}).every_ml_node == ()


def test_one_node_is_run_as_by_a_peer_with_it_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    config = make_config(tmp_path, {"ml_nodes": [{
        "name": "big", "model": "b", "path": str(tmp_path), "tensor_parallel": 2, "pipeline_parallel": 4,
        "flags": ["--device-ids=0,1,2,3,4,5,6,7"],
    }]})
    one = one_node(config, config.ml_nodes[0])
    assert (one.model, one.model_path, one.ml_node, one.ml_nodes) == ("b", tmp_path, None, ())
    assert one.engine_flags == (
        "--tensor-parallel-size=2", "--pipeline-parallel-size=4", "--device-ids=0,1,2,3,4,5,6,7",
    )
    assert one.directory == tmp_path / "ml" / "big", "a log of its own"


@pytest.mark.parametrize(("wrong", "said"), [
    ({"url": None}, "a url or a path"), ({"path": "/"}, "a url or a path"),
    ({"url": "ftp://x"}, "neither an http URL"), ({"url": None, "path": "/nowhere"}, "config.json is missing"),
    ({"flags": ["--x"]}, "for a vLLM that the peer starts"), ({"tensor_parallel": 2}, "for a vLLM that the peer"),
    ({"key_file": "/nowhere"}, "does not exist"), ({"name": "a b"}, "matching"), ({"name": ""}, "matching"),
    ({"name": "../x"}, "matching"), ({"max_jobs": 0}, ">= 1"), ({"tensor_parallel": 65}, "<= 64"),
    ({"model": "\x1b"}, "printed"), ({"unknown": 1}, "unknown"), ({"model": 7}, "Expected"),
])
def test_a_wrong_entry_is_named(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    table = {name: value for name, value in {**entry(), **wrong}.items() if value is not None}
    with pytest.raises(ConfigError, match=said) as caught:
        make_config(tmp_path, {"ml_nodes": [table]})
    assert caught.value.field == "ml_nodes"


def test_names_are_unique_and_few(tmp_path: Path) -> None:
    for table in ({"ml_nodes": [entry(), entry()]}, {"ml_node": "http://x", "ml_nodes": [entry(DEFAULT)]}):
        with pytest.raises(ConfigError, match="another ML node has that name"):
            make_config(tmp_path, table)
    with pytest.raises(ConfigError, match="at most"):
        make_config(tmp_path, {"ml_nodes": [entry(f"n{at}") for at in range(MAX_ML_NODES + 1)]})


def test_own_accounts_are_keys(tmp_path: Path) -> None:
    assert make_config(tmp_path, {"own_accounts": ["ab" * 32]}).own_accounts == ("ab" * 32,)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        make_config(tmp_path, {"own_accounts": ["ab"]})


# -- the file ---------------------------------------------------------------------------------------------------------


def one(name: str, **more: Any) -> MlNodeSettings:
    return MlNodeSettings(name, "m", "http://127.0.0.1:8000", **more)


def test_an_entry_is_added_and_taken_out_and_nothing_else_changes(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    for name in ("one", "two", "three"):
        add_entry(file, one(name, max_jobs=4))
    assert [node.name for node in load_config(tmp_path).ml_nodes] == ["one", "two", "three"]
    assert load_config(tmp_path).ml_nodes[1] == one("two", max_jobs=4)
    assert file.read_text().startswith(TEXT)
    assert remove_entry(file, "two")
    assert [node.name for node in load_config(tmp_path).ml_nodes] == ["one", "three"]
    assert not remove_entry(file, "two")
    assert remove_entry(file, "three")
    assert remove_entry(file, "one")
    assert file.read_text().rstrip("\n") == TEXT.rstrip("\n")


@pytest.mark.parametrize("text", ["", "model = \"m\"", "[[ml_nodes]]\nname = \"z\"\nmodel = \"m\"\nurl = \"http://x\""])
def test_a_file_without_a_last_newline_is_no_trap(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    add_entry(file, one("new"))
    assert tomllib.loads(file.read_text())["ml_nodes"][-1]["name"] == "new"


def test_a_list_that_is_written_otherwise_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text := 'ml_nodes = [{name = "one", model = "m", url = "http://x"}]\n')
    with pytest.raises(ConfigError, match="write each ML node as a table"):
        add_entry(file, one("two"))
    with pytest.raises(ConfigError, match="write each ML node as a table"):
        remove_entry(file, "one")
    assert file.read_text() == text


def test_a_table_within_a_text_is_no_table(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = 'network = """\n[[ml_nodes]]\nname = "one"\n"""\n'
    file.write_text(text)
    add_entry(file, one("one"))
    before = file.read_text()
    with pytest.raises(ConfigError, match="as a table"):
        remove_entry(file, "one")
    assert file.read_text() == before, "it is not known which lines are the entry's"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        add_entry(file, one("x"))
    file.write_text("= 1")
    with pytest.raises(ConfigError, match="not TOML"):
        add_entry(file, one("x"))
