"""What an account can order on chain: the words. Law: data only; an order is signed by the account's own key, never by a hot one, and
its nonce comes from the window that the account's requests use as well.

A refused order changes nothing, so its nonce stays free: sign the next one with the same nonce and the first is void.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message, encode
from p2p.base.genesis import ModelSpec
from p2p.base.keys import Domain, Key, NetworkId, digest
from p2p.base.types import U64, Bytes32, Bytes64, NetworkField, Short

MAX_MODELS_OF_NODE = 16
MAX_STACKS = 8
MAX_METADATA = 256
MAX_FIELDS = 24  # changed by one proposal

Amount = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Value = int | str | tuple[Short, ...]  # a hash is hexadecimal text here


class OpKind(IntEnum):
    TRANSFER = 1
    REGISTER = 2
    UNREGISTER = 3
    ROTATE = 4
    DEPOSIT = 5
    WITHDRAW = 6
    DELEGATE = 7
    REVOKE = 8
    CAP = 9
    PROPOSE = 10
    VOTE = 11
    APPEAL = 12


class Op(Message, frozen=True):
    """An order of `account`. body: the canonical bytes of the message that has the kind's name."""

    network: NetworkField
    account: Bytes32
    nonce: U64
    kind: OpKind
    body: Annotated[bytes, Meta(max_length=3072)]


class SignedOp(Message, frozen=True):
    op: Op
    signature: Bytes64

    @property
    def op_id(self) -> bytes:
        return digest(b"op", encode(self))


class Transfer(Message, frozen=True):
    to: Bytes32
    amount_micro: Amount


class Register(Message, frozen=True):
    """Bind a node key to the account, or change what a node of the account offers. metadata: for people, such as where its operator is
    found. proof: the node key's signature (`consent`): nobody registers another's node."""

    node: Bytes32
    models: Annotated[tuple[Short, ...], Meta(max_length=MAX_MODELS_OF_NODE)]
    stacks: Annotated[tuple[Short, ...], Meta(max_length=MAX_STACKS)]
    price_floor_micro: U64
    metadata: Annotated[str, Meta(max_length=MAX_METADATA)]
    proof: Bytes64


class Unregister(Message, frozen=True):
    node: Bytes32


class Rotate(Message, frozen=True):
    """A participant goes on under another node key; both keys sign (`consent_to_rotate`)."""

    node: Bytes32
    new_node: Bytes32
    proof: Bytes64
    new_proof: Bytes64


class Deposit(Message, frozen=True):
    node: Bytes32
    amount_micro: Amount


class Withdraw(Message, frozen=True):
    node: Bytes32
    amount_micro: Amount


class Delegate(Message, frozen=True):
    """A hot key may sign the account's requests up to height `expires`, for at most these sums of escrow."""

    key: Bytes32
    epoch_cap_micro: Amount
    request_cap_micro: Amount
    expires: U64


class Revoke(Message, frozen=True):
    key: Bytes32


class Cap(Message, frozen=True):
    """The account's own bounds on what requests may hold, whoever signs them; 0 = none."""

    epoch_cap_micro: U64
    request_cap_micro: U64


class ChangeChecks(Message, frozen=True, tag="checks"):
    """Fields of genesis.CheckRules by name."""

    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class ChangeEconomy(Message, frozen=True, tag="economy"):
    """Fields of genesis.EconomyRules by name."""

    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class AddModel(Message, frozen=True, tag="add_model"):
    spec: ModelSpec


class ChangeModel(Message, frozen=True, tag="change_model"):
    """Fields of genesis.ModelSpec by name; neither its name nor whether it is retired."""

    model: Short
    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class RetireModel(Message, frozen=True, tag="retire_model"):
    model: Short


Change = ChangeChecks | ChangeEconomy | AddModel | ChangeModel | RetireModel


class Propose(Message, frozen=True):
    change: Change


class Vote(Message, frozen=True):
    proposal: Bytes32
    yes: bool


class Appeal(Message, frozen=True):
    """Against a lost dispute about an answer of one of the account's nodes; holds EconomyRules.appeal_bond_micro."""

    inference_id: Bytes32


Body = Transfer | Register | Unregister | Rotate | Deposit | Withdraw | Delegate | Revoke | Cap | Propose | Vote | Appeal

KIND_OF: dict[type[Body], OpKind] = {
    Transfer: OpKind.TRANSFER, Register: OpKind.REGISTER, Unregister: OpKind.UNREGISTER, Rotate: OpKind.ROTATE,
    Deposit: OpKind.DEPOSIT, Withdraw: OpKind.WITHDRAW, Delegate: OpKind.DELEGATE, Revoke: OpKind.REVOKE, Cap: OpKind.CAP,
    Propose: OpKind.PROPOSE, Vote: OpKind.VOTE, Appeal: OpKind.APPEAL,
}


def sign_op(key: Key, network: NetworkId, nonce: int, body: Body) -> SignedOp:
    op = Op(network, key.public, nonce, KIND_OF[type(body)], encode(body))
    return SignedOp(op, key.sign(Domain.OP, network, encode(op)))


def consent(account: bytes) -> bytes:
    """What a node key signs (Domain.NODE) to belong to `account`."""
    return digest(b"register", account)


def consent_to_rotate(account: bytes, node: bytes, new_node: bytes) -> bytes:
    """What both keys sign (Domain.NODE)."""
    return digest(b"rotate", account, node, new_node)
