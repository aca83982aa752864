"""Hands the ML node to a peer's executor and validator. Law: both get the same tested `ReadyEngine`, or None, at the
same moment.

Without one the executor declines and the validator gives no verdict; both work again as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError, Unavailable
from p2p.inference.selftest import Wanted
from p2p.peer.config import NodeConfig
from p2p.peer.executor import Executor
from p2p.peer.ml_node import load_text, run_ml_node
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.roles import Roles
from p2p.peer.validator import Validator
from p2p.text.model_text import ModelText

if TYPE_CHECKING:
    from p2p.chain.chain import Chain


@dataclass(slots=True)
class Lending:
    """One per peer."""

    config: NodeConfig
    roles: Roles
    chain: Chain
    executor: Executor
    validator: Validator
    say: Callable[[str], None]  # progress, for the operator
    lent: Callable[[], None]  # called each time the ML node becomes ready
    served: bool = False  # whether it ever was ready

    @property
    def wanted(self) -> bool:
        return self.config.ml_node is not None or self.config.model_path is not None

    @property
    def ready(self) -> bool:
        return self.executor.ready is not None

    async def run(self) -> None:
        """Until cancelled; returns at once where no ML node is configured. Raises ConfigError for settings that do not
        fit the registry."""
        if not self.wanted:
            return
        text = await load_text(self.config, self.chain.reader.model(self.config.model))
        await run_ml_node(self.config, self.roles, lambda: self._model(text), self.lend, self.say, text)

    def unfit(self, error: BaseException) -> bool:
        """Whether an error ends the peer: a wrong setting does until the ML node was ready once, so that the operator
        sees it at once. Later no error of the ML node does."""
        return isinstance(error, ConfigError) and not self.served

    def _model(self, text: ModelText | None) -> Wanted:
        """What the registry says of the model now. Raises Unavailable if it has none of that name."""
        spec = self.chain.reader.model(self.config.model)
        if spec is None:
            raise Unavailable(
                f"the chain here has no model {self.config.model!r}; this peer may still be catching up", field="model"
            )
        if text is None:
            raise ConfigError(
                f"this peer has no tokenizer.json of {spec.model}; give its folder as `tokenizer`", field="tokenizer"
            )
        ends = frozenset(spec.eos_ids or text.ends)
        return Wanted(spec.model, spec.context_tokens, ends, spec.vocabulary, text)

    def lend(self, ready: ReadyEngine | None) -> None:
        """None: it is taken back."""
        self.executor.ready = self.validator.ready = ready
        if ready is not None:
            self.served = True
            self.lent()
