"""The ML node as it is once it was tested: one value that executor and validator take together.

Law: frozen. A peer has one of these or None, so nobody sees an engine without its end tokens, stack or vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.errors import ConfigError
from p2p.base.genesis import ModelSpec
from p2p.base.types import StackClass
from p2p.inference.stack.model import check_tokenizer
from p2p.text.vocabulary import Vocabulary
from p2p.verification.engine import Engine
from p2p.verification.profile import family


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The model's tokenizer.json as it lies on this machine."""

    hash: bytes  # SHA-256 of the file
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class ReadyEngine:
    """An ML node that answers, and all that this peer knows of it."""

    engine: Engine  # answers clients
    checks: Engine  # scores other peers' answers; another engine only where a test network's roles say so
    eos_ids: frozenset[int]  # tokens that end an answer
    stack: str = StackClass.CPU_BF16  # what the header of each artifact names
    tokenizer: Tokenizer | None = None  # None: the file is not here, and this peer serves nobody

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.tokenizer.vocabulary if self.tokenizer is not None else None

    def unfit_for(self, spec: ModelSpec) -> str:
        """Why this engine may not serve the registered model; '' where it may. Validators would refuse its answers."""
        if spec.stacks and family(self.stack) not in spec.stacks:
            allowed = ", ".join(spec.stacks)
            return f"{spec.model} may not be served on {family(self.stack)}; the registry allows {allowed}"
        if self.tokenizer is None:
            return "this peer has no tokenizer.json of the model, so it cannot sign for an answer's text"
        try:
            check_tokenizer(self.tokenizer.hash, spec)
        except ConfigError as error:
            return error.message
        return ""
