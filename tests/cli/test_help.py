"""Help fits the window, topics are found, and a command without its action names the actions."""

from __future__ import annotations

import pytest

from p2p.base.errors import ConfigError
from p2p.cli.commands import BY_NAME
from p2p.cli.help_command import text_of, topics
from p2p.cli.parsing import actions_of, overview, parse, parser
from p2p.cli.terminal.fit import fit

WIDTHS = ("50", "60", "80", "100")


@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_the_window_but_for_commands(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = {"overview": overview(), **{topic: text_of([topic]) for topic in topics()}}
    long = [(topic, line) for topic, text in shown.items() for line in text.splitlines()
            if len(line) > int(width) and not line.startswith("    folkmoot ")]
    assert long == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["join", "account", "ping", "sprint", "key"])
def test_what_a_command_does_fits_the_window(command: str, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = text_of([command]).partition("positional arguments")[0]
    about = [line for line in shown.splitlines() if not line.startswith((" ", "usage"))]
    assert max(map(len, about)) <= int(width)


def test_text_keeps_its_words_its_commands_and_its_columns() -> None:
    text = ("Title\n\n  Some prose that is\n  long.\n\n    folkmoot a command that stays whole\n"
            "  name   what it is and more")
    assert fit(text, 24) == ("Title\n\n  Some prose that is\n  long.\n\n    folkmoot a command that stays whole\n"
                             "  name\n      what it is and\n      more")
    assert fit(text, 200).splitlines()[2] == "  Some prose that is long."


def test_a_topic_is_found_where_a_command_has_its_name() -> None:
    both = [topic for topic in topics() if topic in BY_NAME]
    assert both == ["peers"]
    assert text_of(["peers"]).startswith("How a peer is found")
    assert text_of(["peers"]).endswith("folkmoot peers --help")


@pytest.mark.parametrize("command", [
    "account", "key", "ml", "model", "config", "debug", "service", "store", "governance", "testnet",
])
def test_a_command_without_its_action_names_the_actions(command: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse([command])
    assert caught.value.field == "action"
    assert "say what to do: " in caught.value.message


def test_no_command_of_a_peer_asks_for_its_folder() -> None:
    """`join` makes ~/.folkmoot, and all others find it there."""
    asking = [command.prog for top in actions_of(parser()).values() for command in (top, *actions_of(top).values())
              if (found := command._option_string_actions.get("--dir")) is not None and found.required]
    assert asking == ["folkmoot testnet write"], "which makes a new folder"
