"""A conversation that is kept in a file: its messages, and the session by which the same executor answers.

Law: the file is for its user alone, since it holds what was said; it is written whole, after each answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from p2p.base.body import Body, Chat, ChatMessage, Role
from p2p.base.errors import ConfigError
from p2p.base.files import exists, make_folder, read_file, write_file
from p2p.base.serving_limits import MAX_BODY
from p2p.client.session import Session, SessionDraw

FOLDER = "sessions"  # in the client's folder
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_FILE = 4 * MAX_BODY


@dataclass(slots=True)
class Conversation:
    """What was said, and to whom."""

    model: str
    messages: list[ChatMessage] = field(default_factory=list)
    session: Session = field(default_factory=Session)

    def body(self, text: str) -> Body:
        """The conversation, and what the user says now."""
        return Body(Chat((*self.messages, ChatMessage(Role.USER, text))))

    def said(self, text: str, answer: str) -> None:
        """The user said `text`, and the model `answer`."""
        self.messages += [ChatMessage(Role.USER, text), ChatMessage(Role.ASSISTANT, answer)]

    def begin_again(self, model: str = "") -> None:
        """Forget what was said. model: go on with another one; '': the same."""
        self.model, self.messages, self.session = model or self.model, [], Session()


class _Draw(msgspec.Struct, frozen=True):
    id: str
    height: int
    beacon: str


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    model: str
    messages: tuple[_Message, ...]
    peer: str = ""
    draw: _Draw | None = None


def file_of(directory: Path, name: str) -> Path:
    """Where the conversation `name` is kept. Raises ConfigError for what is no name."""
    if not _NAME.fullmatch(name):
        raise ConfigError("give a name of letters, digits, '.', '_' and '-', 64 at most", field="session")
    return directory / FOLDER / f"{name}.json"


def load(file: Path, model: str | None, default: str) -> Conversation:
    """The conversation in `file`; a new one where there is none. model: as the user gives it. Raises ConfigError where
    the file is damaged, or about another model."""
    if not exists(file):
        return Conversation(model or default)
    try:
        kept = msgspec.json.decode(read_file(file, _MAX_FILE, field="session"), type=_Kept)
        messages = [ChatMessage(Role(one.role), one.content) for one in kept.messages]
        draw = None if kept.draw is None else SessionDraw(
            bytes.fromhex(kept.draw.id), kept.model, kept.draw.height, bytes.fromhex(kept.draw.beacon),
        )
    except (ValueError, msgspec.MsgspecError) as error:
        advice = "remove it, and the conversation begins again"
        raise ConfigError(f"{file} is damaged; {advice}", field="session") from error
    if model not in (None, kept.model):
        what = f"this conversation is with {kept.model}"
        raise ConfigError(f"{what}; leave --model out, or give another --session", field="model")
    return Conversation(kept.model, messages, Session(draw, kept.peer))


def save(file: Path, talk: Conversation) -> None:
    """Raises ConfigError, StorageError."""
    draw = talk.session.draw
    kept = _Kept(
        talk.model, tuple(_Message(one.role.value, one.content) for one in talk.messages), talk.session.peer,
        None if draw is None else _Draw(draw.id.hex(), draw.height, draw.beacon.hex()),
    )
    make_folder(file.parent)
    write_file(file, json.dumps(msgspec.to_builtins(kept), indent=1).encode(), field="session")
