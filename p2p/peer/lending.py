"""Lends the ML node to a peer's executor and validator. Law: only one that was tested; without it the executor is Busy and the validator gives no
verdict, and both work again as soon as it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError, Unavailable
from p2p.inference.selftest import Wanted
from p2p.peer.config import NodeConfig
from p2p.peer.executor import Executor
from p2p.peer.ml_node import ReadyEngine, read_words, run_ml_node
from p2p.peer.roles import Roles
from p2p.peer.validator import Validator

if TYPE_CHECKING:
    from p2p.chain.chain import Chain


@dataclass(slots=True)
class Lending:
    """say: how it goes with the ML node. lent: called each time it is there."""

    config: NodeConfig
    roles: Roles
    chain: Chain
    executor: Executor
    validator: Validator
    say: Callable[[str], None]
    lent: Callable[[], None]
    served: bool = False

    @property
    def wanted(self) -> bool:
        return self.config.ml_node is not None or self.config.model_path is not None

    @property
    def ready(self) -> bool:
        return self.executor.engine is not None

    async def run(self) -> None:
        """Until cancelled; returns where no ML node is configured. Raises ConfigError for settings that do not fit the registry."""
        if not self.wanted:
            return
        words = await read_words(self.config, self.chain.reader.model(self.config.model))
        if words is not None:
            self.executor.tokenizer_hash, self.executor.vocabulary = words
            self.validator.vocabulary = self.executor.vocabulary
        await run_ml_node(self.config, self.roles, self._model, self._lend, self.say)

    def unfit(self, error: BaseException) -> bool:
        """A wrong setting ends a peer that has not served yet, so that its user sees it at once; later nothing of the ML node does."""
        return isinstance(error, ConfigError) and not self.served

    def _model(self) -> Wanted:
        """What the registry says of it now. Raises Unavailable where it has none such: this peer's chain may be behind."""
        spec, vocabulary = self.chain.reader.model(self.config.model), self.executor.vocabulary
        if spec is None:
            raise Unavailable(f"the network has no model {self.config.model!r}, as far as this peer has its chain", field="model")
        return Wanted(spec.model, spec.context_tokens, spec.vocabulary, vocabulary.text if vocabulary else None)

    def _lend(self, found: ReadyEngine | None) -> None:
        """None: it is taken back."""
        if found is None:
            self.executor.engine = self.validator.engine = None
            return
        self.executor.stack = self.validator.stack = found.stack
        self.executor.eos_ids = self.validator.eos_ids = found.eos_ids
        self.executor.engine, self.validator.engine = found.engine, found.checks
        self.served = True
        self.lent()
