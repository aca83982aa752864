"""What a client is told of a model.

Law: a peer's word, read with bounds. What the genesis file says of the same model is marked; anything else is asked of
several peers by whoever must be sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from p2p.base.genesis import Genesis
from p2p.base.serving_limits import MAX_EOS_IDS, MAX_TEMPLATE_TOKENS, MAX_VOCABULARY
from p2p.wire.answers.fields import Amount, Hex32, Name
from p2p.wire.answers.network import GovernanceAnswer, PricesAnswer
from p2p.wire.answers.reading import read

NO_HASH = "00" * 32


class _Row(Struct, frozen=True):
    """One of GovernanceAnswer.models."""

    model: Name
    context_tokens: Amount
    template_hash: Hex32
    precision: Name
    tokenizer_hash: Hex32 = NO_HASH
    vocabulary: Annotated[int, Meta(ge=1, le=MAX_VOCABULARY)] = MAX_VOCABULARY
    eos_ids: Annotated[tuple[Amount, ...], Meta(max_length=MAX_EOS_IDS)] = ()
    template_tokens: Annotated[tuple[tuple[Name, Name], ...], Meta(max_length=MAX_TEMPLATE_TOKENS)] = ()
    tool_format: Name = ""
    retired: bool = False


class ModelCard(Struct, frozen=True):
    """One model that the network serves."""

    name: str
    context_tokens: int  # prompt and answer together
    price_micro: int  # of a token in the next block
    precision: str  # of the weights, as the registry names it
    has_template: bool  # without one it takes text and tokens only
    tool_format: str  # how it writes calls of tools; empty: it does not
    vocabulary: int  # token ids are below it
    eos_ids: tuple[int, ...]  # they end an answer; empty: not known
    template_tokens: tuple[tuple[str, str], ...]  # special tokens that the template may name
    tokenizer_hash: str  # SHA-256 of its tokenizer.json, hexadecimal; zeros: the registry names none
    template_hash: str  # SHA-256 of its chat template; zeros: it has none
    in_genesis: bool  # the genesis file names the same files: then nobody has to be believed


def cards(genesis: Genesis, governance: GovernanceAnswer, prices: PricesAnswer, peer: str) -> tuple[ModelCard, ...]:
    """The models in use, by name. peer: that answered. Raises RemoteProtocolError for a malformed answer."""
    costs = {row.model: row.price_micro for row in prices.prices}
    rows: Sequence[_Row] = [read(_Row, row, "governance", peer) for row in governance.models]
    ours = {spec.model: (spec.tokenizer_hash.hex(), spec.template_hash.hex()) for spec in genesis.models}
    return tuple(
        ModelCard(
            row.model, row.context_tokens, costs[row.model], row.precision, row.template_hash != NO_HASH,
            row.tool_format, row.vocabulary, row.eos_ids, row.template_tokens, row.tokenizer_hash, row.template_hash,
            ours.get(row.model) == (row.tokenizer_hash, row.template_hash),
        )
        for row in sorted(rows, key=lambda row: row.model) if row.model in costs and not row.retired
    )


