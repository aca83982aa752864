"""Account transactions: what an account can have the chain do, as signed messages. Law: data only; a transaction is
signed by the account's own key, never by a hot key, and takes its nonce from the same window as the account's requests.

A refused transaction changes nothing, so its nonce stays free: another one signed with the same nonce replaces it.
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
MAX_STACKS = 8  # of one node
MAX_METADATA = 256  # characters
MAX_FIELDS = 24  # changed by one proposal
MAX_BODY = 3072  # bytes

Amount = Annotated[int, Meta(ge=1, le=2**63 - 1)]  # micro-credits
Value = int | str | tuple[Short, ...]  # of a rule's field; a hash as hexadecimal text


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
    """An account transaction, as it is signed."""

    network: NetworkField
    account: Bytes32
    nonce: U64
    kind: OpKind
    body: Annotated[bytes, Meta(max_length=MAX_BODY)]  # canonical bytes of the message that KIND_OF has for `kind`


class SignedOp(Message, frozen=True):
    op: Op
    signature: Bytes64  # by the account's key, Domain.OP

    @property
    def op_id(self) -> bytes:
        """32 bytes that name the signed transaction."""
        return digest(b"op", encode(self))


class Transfer(Message, frozen=True):
    """Pay another account."""

    to: Bytes32
    amount_micro: Amount


class Register(Message, frozen=True):
    """Bind a node key to the account, or change what a node of the account offers."""

    node: Bytes32
    models: Annotated[tuple[Short, ...], Meta(max_length=MAX_MODELS_OF_NODE)]  # that it serves and checks
    stacks: Annotated[tuple[Short, ...], Meta(max_length=MAX_STACKS)]  # on which it serves, empty = any
    price_floor_micro: U64  # least price of a token for which it works
    metadata: Annotated[str, Meta(max_length=MAX_METADATA)]  # for people, such as how to reach its operator
    proof: Bytes64  # the node key's signature of `consent`: nobody registers another's node


class Unregister(Message, frozen=True):
    """The node leaves: it draws no more work at once, and gets its collateral back after EconomyRules.withdraw_wait."""

    node: Bytes32


class Rotate(Message, frozen=True):
    """Replace a participant's node key by a new one."""

    node: Bytes32
    new_node: Bytes32
    proof: Bytes64  # the old key's signature of `consent_to_rotate`
    new_proof: Bytes64  # the new key's


class Deposit(Message, frozen=True):
    """Move money from the account to a node's collateral."""

    node: Bytes32
    amount_micro: Amount


class Withdraw(Message, frozen=True):
    """Move money back from a node's collateral, after EconomyRules.withdraw_wait."""

    node: Bytes32
    amount_micro: Amount


class Delegate(Message, frozen=True):
    """Let a hot key sign the account's requests, or change its bounds."""

    key: Bytes32
    epoch_cap_micro: Amount  # most escrow in an epoch
    request_cap_micro: Amount  # most escrow of one request
    expires: U64  # last height at which it may sign


class Revoke(Message, frozen=True):
    """A hot key may sign no more."""

    key: Bytes32


class Cap(Message, frozen=True):
    """Bound the escrow of the account's requests, whichever key signs them."""

    epoch_cap_micro: U64  # most escrow in an epoch, 0 = no bound
    request_cap_micro: U64  # most escrow of one request, 0 = no bound


class ChangeChecks(Message, frozen=True, tag="checks"):
    """Other values for fields of genesis.CheckRules."""

    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class ChangeEconomy(Message, frozen=True, tag="economy"):
    """Other values for fields of genesis.EconomyRules."""

    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class AddModel(Message, frozen=True, tag="add_model"):
    spec: ModelSpec


class ChangeModel(Message, frozen=True, tag="change_model"):
    """Other values for fields of a model's genesis.ModelSpec, except `model` and `retired`."""

    model: Short
    fields: Annotated[tuple[tuple[Short, Value], ...], Meta(min_length=1, max_length=MAX_FIELDS)]


class RetireModel(Message, frozen=True, tag="retire_model"):
    model: Short


Change = ChangeChecks | ChangeEconomy | AddModel | ChangeModel | RetireModel


class Propose(Message, frozen=True):
    """Put a change to the vote (ledger/governance.py)."""

    change: Change


class Vote(Message, frozen=True):
    """Vote with the weight of all nodes of the account."""

    proposal: Bytes32  # its id
    yes: bool


class Appeal(Message, frozen=True):
    """Appeal against a lost dispute about an answer of one of the account's nodes. Holds
    EconomyRules.appeal_bond_micro until it is decided."""

    inference_id: Bytes32


Body = (
    Transfer | Register | Unregister | Rotate | Deposit | Withdraw | Delegate | Revoke | Cap | Propose | Vote | Appeal
)

KIND_OF: dict[type[Body], OpKind] = {
    Transfer: OpKind.TRANSFER, Register: OpKind.REGISTER, Unregister: OpKind.UNREGISTER, Rotate: OpKind.ROTATE,
    Deposit: OpKind.DEPOSIT, Withdraw: OpKind.WITHDRAW, Delegate: OpKind.DELEGATE, Revoke: OpKind.REVOKE,
    Cap: OpKind.CAP, Propose: OpKind.PROPOSE, Vote: OpKind.VOTE, Appeal: OpKind.APPEAL,
}


def sign_op(key: Key, network: NetworkId, nonce: int, body: Body) -> SignedOp:
    """key: the account's."""
    op = Op(network, key.public, nonce, KIND_OF[type(body)], encode(body))
    return SignedOp(op, key.sign(Domain.OP, network, encode(op)))


def consent(account: bytes) -> bytes:
    """What a node key signs (Domain.NODE) to be registered by `account`: 32 bytes."""
    return digest(b"register", account)


def consent_to_rotate(account: bytes, node: bytes, new_node: bytes) -> bytes:
    """What both node keys sign (Domain.NODE) to have `node` replaced by `new_node`: 32 bytes."""
    return digest(b"rotate", account, node, new_node)
