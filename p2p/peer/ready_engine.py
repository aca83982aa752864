"""The ML node as it is once it was tested: one value that executor and validator take together.

Law: frozen. A peer has one of these or None, so nobody sees an engine without its end tokens, stack or vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from p2p.base.body import Body
from p2p.base.errors import ConfigError, Unavailable
from p2p.base.genesis import ModelSpec
from p2p.base.types import Params, StackClass
from p2p.grammar.request_sampling import request_sampling
from p2p.inference.stack.model import check_text
from p2p.text.model_text import ModelText
from p2p.verification.engine import Engine
from p2p.verification.profile import family
from p2p.verification.sampling import Sampling


@runtime_checkable
class Patient(Protocol):
    """An engine that puts answers before checks."""

    def by(self, due: float) -> Engine:
        """The same engine, for checks that are due at that time, in seconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class ReadyEngine:
    """An ML node that answers, and all that this peer knows of it."""

    engine: Engine  # answers clients
    checks: Engine  # scores other peers' answers; another engine only where a test network's roles say so
    eos_ids: frozenset[int]  # tokens that end an answer
    stack: str = StackClass.CPU_BF16  # what the header of each artifact names
    text: ModelText | None = None  # None: the model's files are not here, and this peer serves and checks nobody

    def checks_by(self, due: float) -> Engine:
        """`checks`, for one that lets answers pass until it is due, in seconds since 1970; where the engine cannot, it
        is done in turn."""
        return self.checks.by(due) if isinstance(self.checks, Patient) else self.checks

    def words(self) -> ModelText:
        """The model's text. Raises Unavailable without its files."""
        if self.text is None:
            raise Unavailable("this peer has no tokenizer.json of the model", field="tokenizer")
        return self.text

    def sampling(self, params: Params, body: Body, spec: ModelSpec, *, patient: bool = False) -> Sampling:
        """How the answer to a request is sampled. patient: for a validator. A new grammar takes 0.1 s and more: call it
        in a thread. Raises InvalidRequest(field='grammar'), Unavailable."""
        ends = spec.ends(self.eos_ids)
        return request_sampling(params, body, ends, self.words().tokenizer, spec.vocabulary, patient=patient)

    def unfit_for(self, spec: ModelSpec) -> str:
        """Why this engine may not serve the registered model; '' where it may. Validators would refuse its answers."""
        if spec.stacks and family(self.stack) not in spec.stacks:
            allowed = ", ".join(spec.stacks)
            return f"{spec.model} may not be served on {family(self.stack)}; the registry allows {allowed}"
        if self.text is None:
            return "this peer has no tokenizer.json of the model, so it cannot sign for an answer's text"
        try:
            check_text(self.text, spec)
        except ConfigError as error:
            return error.message
        return ""
