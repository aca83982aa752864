"""A block that is trusted from outside.

Law: below it nothing is believed that it does not prove, whatever signatures there are. Keys of validators that left
long ago decide nothing any more, but whoever buys them can sign another history from the genesis file on. A newcomer
cannot tell it from the true one by signatures. It can by one block id of last week, from somebody it trusts (decision
039).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from p2p.base.errors import ConfigError, RemoteProtocolError, Unavailable
from p2p.base.keys import NetworkId
from p2p.base.limits import MAX_ANCHORED
from p2p.consensus.certificates import verify_commit
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import Header
from p2p.consensus.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The block of this height has this id."""

    height: int
    block_id: bytes


def parse_checkpoint(text: str) -> Checkpoint:
    """HEIGHT:BLOCK_ID, as `folkmoot block HEIGHT` shows them. Raises ConfigError."""
    found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-fA-F]{64})", text, re.ASCII)
    if found is None:
        raise ConfigError(
            "a checkpoint is HEIGHT:BLOCK_ID, the block's height and its id of 64 hexadecimal digits",
            field="checkpoint",
        )
    return Checkpoint(int(found[1]), bytes.fromhex(found[2]))


class Anchor:
    """The ids that a checkpoint proves: its own, and from each header that of the block before."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self.checkpoint = checkpoint
        self._ids: dict[int, bytes] = {} if checkpoint is None else {checkpoint.height: checkpoint.block_id}

    def agree(self, height: int, header: Callable[[int], Header | None]) -> None:
        """Raises ConfigError when the chain at hand, which stands at `height`, has another block there."""
        if self.checkpoint is None or self.is_below(height + 1):
            return
        found = header(self.checkpoint.height)
        if found is not None and found.block_id != self.checkpoint.block_id:
            raise ConfigError(
                f"block {self.checkpoint.height} here is {found.block_id.hex()}: the checkpoint is of another history,"
                " or this folder is. Compare it with somebody you trust; where it is right, begin again with an empty"
                " DIR/data", field="checkpoint",
            )

    def is_below(self, height: int) -> bool:
        """Whether a block of this height is to be proved by the checkpoint rather than by signatures."""
        return self.checkpoint is not None and height <= self.checkpoint.height

    @property
    def lowest(self) -> int:
        """Of the heights whose ids are proved."""
        return min(self._ids)

    def check(self, height: int, block_id: bytes) -> None:
        """Raises RemoteProtocolError where the checkpoint proves another block."""
        if self.is_below(height) and self._ids.get(height) != block_id:
            raise RemoteProtocolError(f"block {height} is not the one that the checkpoint proves", field="checkpoint")

    def learn(self, block: LightBlock) -> None:
        """A header whose id is proved proves the one before. Raises RemoteProtocolError for any other."""
        header = block.header
        self.check(header.height, header.block_id)
        if len(self._ids) >= MAX_ANCHORED:
            raise Unavailable(
                f"more than {MAX_ANCHORED} blocks below the checkpoint and no snapshot of later ones",
                field="checkpoint",
            )
        if header.height > 1:
            self._ids[header.height - 1] = header.last_block_id

    def passed(self, height: int) -> None:
        """The chain stands there: what is below is history."""
        self._ids = {at: id_ for at, id_ in self._ids.items() if at > height}


def check_proved(block: LightBlock, network: NetworkId) -> None:
    """The rest of a light block whose header's id is proved: sets and certificate. Raises RemoteProtocolError."""
    validators, following = ValidatorSet.of(block.validators), ValidatorSet.of(block.next_validators)
    if (validators.hash(), following.hash()) != (block.header.validators_hash, block.header.next_validators_hash):
        raise RemoteProtocolError("a validator set is not the one the header names", field="validators")
    certificate = block.certificate
    about = (certificate.height, certificate.block_id) == (block.header.height, block.header.block_id)
    if not about or not verify_commit(certificate, network, validators):
        raise RemoteProtocolError("the certificate proves nothing of the header", field="certificate")
