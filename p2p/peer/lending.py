"""Hands the ML node to a peer's executor and validator. Law: both get the same tested `ReadyEngine`, or None, at the
same moment.

Without one the executor declines and the validator gives no verdict; both work again as soon as there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError, Unavailable
from p2p.inference.selftest import Wanted
from p2p.peer.config import NodeConfig
from p2p.peer.executor import Executor
from p2p.peer.gate import Gate
from p2p.peer.ml_node import Lend, Progress, Watch, known_ends, load_text, run_ml_node
from p2p.peer.ml_nodes import MlNodes
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
    lent: Callable[[], None]  # called each time the first ML node becomes ready
    gate: Gate
    served: bool = False  # whether one ever was ready
    nodes: MlNodes = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = MlNodes(self.config, self.gate, self._run_one, self.say, self._changed, fatal=self.unfit)

    @property
    def wanted(self) -> bool:
        return len(self.nodes) > 0

    @property
    def ready(self) -> bool:
        return self.executor.ready is not None

    async def run(self) -> None:
        """Until cancelled, also without an ML node: `folkmoot ml add` may bring one. Raises ConfigError for settings
        of the single node that do not fit the registry, until it was ready once."""
        await self.nodes.run()

    async def _run_one(self, config: NodeConfig, lend: Lend, say: Progress, watch: Watch) -> None:
        text = await load_text(config, self.chain.reader.model(config.model))
        await run_ml_node(config, self.roles, lambda: self._model(config, text), lend, say, text, watch)

    def _changed(self) -> None:
        """An ML node was lent, or taken back."""
        before, ready = self.executor.ready, self.nodes.any_ready(self.config.model) or self.nodes.any_ready()
        self.executor.ready = self.validator.ready = ready
        if ready is not None and before is None:
            self.served = True
            self.lent()

    def unfit(self, error: BaseException) -> bool:
        """Whether an error ends the peer: a wrong setting does until the ML node was ready once, so that the operator
        sees it at once. Later no error of the ML node does."""
        return isinstance(error, ConfigError) and not self.served

    def _model(self, config: NodeConfig, text: ModelText | None) -> Wanted:
        """What the registry says of the model now. Raises Unavailable if it has none of that name."""
        name = config.model
        spec = self.chain.reader.model(name)
        if spec is None:
            raise Unavailable(
                f"the chain here has no model {name!r}; this peer may still be catching up", field="model"
            )
        if text is None:
            raise ConfigError(
                f"this peer has no tokenizer.json of {spec.model}; give its folder as `tokenizer`", field="tokenizer"
            )
        ends = frozenset(spec.eos_ids or known_ends(config))
        return Wanted(spec.model, spec.context_tokens, ends, spec.vocabulary, text)
