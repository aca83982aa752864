"""The table of commands: each row has a module, help and examples that parse; a word nearly right is named."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator

import pytest

from p2p.cli import parsing
from p2p.cli.commands import COMMANDS, GROUPS, examples_of
from p2p.cli.main import main
from p2p.cli.parsing import actions_of, meant, overview, parser

ALL = parser()
BY_NAME = actions_of(ALL)


def every(command: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The command and its actions, each with its words."""
    yield words, command
    for name, action in actions_of(command).items():
        if action.prog.endswith(f" {name}"):  # no second name of the same action
            yield from every(action, f"{words} {name}")


LEAVES = {
    words: command for name, top in BY_NAME.items() for words, command in every(top, name) if not actions_of(command)
}


def test_the_table_and_the_modules_name_the_same_commands() -> None:
    assert list(dict.fromkeys(row.group for row in COMMANDS)) == list(GROUPS)
    assert {row.name for row in COMMANDS} == set(BY_NAME)
    assert len({row.name for row in COMMANDS}) == len(COMMANDS)
    for row in COMMANDS:
        assert len(row.line) <= 90, row.name
        assert row.line in " ".join(overview().split()), row.name


@pytest.mark.parametrize("words", LEAVES)
def test_each_command_and_action_has_an_example_that_parses(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples_of(words)
    assert found, f"give `folkmoot {words}` an example in cli/commands.py"
    for text in found:
        assert callable(ALL.parse_args(shlex.split(text)[1:]).run), text
    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])
    assert found[0] in capsys.readouterr().out


@pytest.mark.parametrize("words", LEAVES)
def test_each_option_says_what_it_does_and_its_default(words: str) -> None:
    for action in LEAVES[words]._actions:
        assert action.help, f"folkmoot {words} {action.dest}"
        has_default = action.option_strings and action.default not in (None, False, "", [], argparse.SUPPRESS)
        assert not has_default or "default" in action.help, f"folkmoot {words} {action.dest}: name the default"
    assert "--json" in LEAVES[words]._option_string_actions


@pytest.mark.parametrize(("words", "said"), [
    (["statsu"], "did you mean status?"), (["account", "trasfer"], "did you mean transfer?"),
    (["status", "--jsn"], "did you mean --json?"), (["governance", "vote", "0", "yess"], "did you mean yes?"),
    (["serve", "--dir", "x", "--engine", "vlm"], "did you mean vllm?"),
    (["account", "show", "--acount=3"], "--account"),
    (["zzzzzz"], "folkmoot --help lists all"),
])
def test_a_word_that_is_nearly_right_is_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert main([*words, "--json"]) == 2
    assert said in json.loads(capsys.readouterr().err)["error"]["message"]


def test_nothing_is_guessed_where_nothing_is_near() -> None:
    assert meant("qqqq", ["status"]) == ""


def test_only_the_module_of_the_command_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    real = parsing.importlib.import_module
    monkeypatch.setattr(parsing.importlib, "import_module", lambda name: loaded.append(name) or real(name))
    parser("earnings")
    assert loaded == ["p2p.cli.earnings"]
    overview()
    assert loaded == ["p2p.cli.earnings"]


def test_no_command_at_all_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out == overview() + "\n"
