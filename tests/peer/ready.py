"""A toy engine as executor and validator take it, with the toy model's text."""

from __future__ import annotations

from typing import Any

from p2p.base.body import Body, Chat
from p2p.base.types import StackClass
from p2p.peer.ready_engine import ReadyEngine
from p2p.text.vocabulary import Vocabulary
from testnet.simulated_engine import BYTE_BASE, EOS
from tests.verification.toy import WORDS


class ToyText:
    """FAKE: the text of the toy model. A prompt is a 1 and the bytes of all that is said."""

    tokenizer, has_template = b"", True
    tokenizer_hash = template_hash = bytes(32)

    def __init__(self, vocabulary: Vocabulary = WORDS, tokens: tuple[int, ...] | None = None) -> None:
        self.vocabulary, self._tokens = vocabulary, tokens

    def prompt(self, body: Body) -> tuple[int, ...]:
        if self._tokens is not None:
            return self._tokens
        assert isinstance(body.prompt, Chat)
        text = "".join(message.content for message in body.prompt.messages)
        return (1, *(BYTE_BASE + byte for byte in text.encode()))


def ready(
    engine: Any, vocabulary: Vocabulary | None = WORDS, ends: frozenset[int] = frozenset({EOS}),
    stack: str = StackClass.CPU_BF16, tokens: tuple[int, ...] | None = None,
) -> ReadyEngine:
    """vocabulary: None: without the model's files. tokens: of every prompt; None: of what it says."""
    text: Any = ToyText(vocabulary, tokens) if vocabulary is not None else None
    return ReadyEngine(engine, engine, ends, stack, text)
