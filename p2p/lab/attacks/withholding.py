"""Signs its answers and gives their payloads to nobody: no validator can fetch what its artifact root names."""

from typing import Any

from p2p.lab.attacks.base import Attack
from p2p.peer.executor import Executor


class _Nothing:
    """A payload store that keeps nothing."""

    def put(self, key: bytes, value: bytes) -> None:
        del key, value

    def read(self, key: bytes) -> None:
        del key


class Withholds(Executor):
    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.payloads = _Nothing()


ATTACK = Attack(
    "withholding", "Signs for its answers and gives their payload to no validator.",
    "the agent's copy; else the verdict 'withheld'", executor=Withholds,
)
