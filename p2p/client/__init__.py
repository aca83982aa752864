"""p2p.client: see README.md in this folder. Law: a name is loaded when it is asked for, so a command that needs one
file of this room does not load them all.

    from p2p.client import Client, Question
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p.client.answer import Answer
    from p2p.client.client import Client, chat_question, user, with_answer
    from p2p.client.events import (
        Accepted,
        Busy,
        Declined,
        Done,
        Event,
        Notices,
        PeerFailed,
        Proved,
        Resumed,
        Signed,
        TermsShown,
        Token,
        Trying,
        Waiting,
    )
    from p2p.client.model_card import ModelCard
    from p2p.client.model_files import ModelFiles
    from p2p.client.question import Endpoint, Payer, Question
    from p2p.client.receipt import Receipt
    from p2p.client.session import Session

_FILES = {
    "answer": ("Answer",),
    "client": ("Client", "chat_question", "user", "with_answer"),
    "events": (
        "Accepted", "Busy", "Declined", "Done", "Event", "Notices", "PeerFailed", "Proved", "Resumed", "Signed",
        "TermsShown", "Token", "Trying", "Waiting",
    ),
    "model_card": ("ModelCard",),
    "model_files": ("ModelFiles",),
    "question": ("Endpoint", "Payer", "Question"),
    "receipt": ("Receipt",),
    "session": ("Session",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "Accepted", "Answer", "Busy", "Client", "Declined", "Done", "Endpoint", "Event", "ModelCard", "ModelFiles",
    "Notices", "Payer", "PeerFailed", "Proved", "Question", "Receipt", "Resumed", "Session", "Signed", "TermsShown",
    "Token", "Trying", "Waiting", "chat_question", "user", "with_answer",
]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module 'p2p.client' has no attribute {name!r}")
    return getattr(import_module(f"p2p.client.{_FILE_OF[name]}"), name)
