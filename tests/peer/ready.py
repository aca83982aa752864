"""A toy engine as executor and validator take it."""

from __future__ import annotations

from typing import Any

from p2p.base.types import StackClass
from p2p.peer.ready_engine import ReadyEngine, Tokenizer
from p2p.text.vocabulary import Vocabulary
from testnet.simulated_engine import EOS
from tests.verification.toy import WORDS


def ready(
    engine: Any, vocabulary: Vocabulary | None = WORDS, ends: frozenset[int] = frozenset({EOS}),
    stack: str = StackClass.CPU_BF16,
) -> ReadyEngine:
    """vocabulary: None: without a tokenizer.json."""
    return ReadyEngine(
        engine, engine, ends, stack, Tokenizer(bytes(32), vocabulary) if vocabulary is not None else None
    )
