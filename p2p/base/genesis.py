"""The genesis file: what a network begins with (its models, its rules, its first peers and accounts).

Law: data only, and integers only, so that every peer computes the same. Fields are encoded by position, so a new field
goes to the end of its struct. `_micro` is an amount in micro-credits, `_milli` a number in thousandths, `_ppm` in
millionths, `_ppb` in thousand-millionths; a nat is the unit of a natural logarithm. Governance can change most of
CheckRules and EconomyRules later (ledger/rules/parameters.py); the values here are those of height 0.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import ConfigError, RemoteProtocolError
from p2p.base.files import read_file
from p2p.base.keys import NetworkId, digest
from p2p.base.limits import MAX_FRAME, MAX_GENESIS_ITEMS
from p2p.base.serving_limits import (
    MAX_EOS_IDS,
    MAX_NETWORK_NAME,
    MAX_OUTPUT_TOKENS,
    MAX_TEMPLATE_TOKENS,
    MAX_VOCABULARY,
)
from p2p.base.types import U32, U64, Bytes32, Short

HASH_DIGITS = 32  # hexadecimal digits of the genesis file's hash in a network's id: 128 bits
NETWORK_NAME = re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9._-]{{0,{MAX_NETWORK_NAME - 1}}}\Z")  # topics contain the name
NAME_RULE = f"a network has a name of 1 to {MAX_NETWORK_NAME} letters, digits, dots, dashes and underscores"
MAX_FAMILIES = 16  # stack families that one model may name
MAX_PROFILE_HASH = 64  # hexadecimal digits of a SHA-256
MAX_COMMITTEE = 64  # validators asked about one inference

Share = Annotated[int, Meta(ge=0, le=1000)]  # thousandths of a whole
Positive = Annotated[int, Meta(ge=1, lt=2**32)]
Ppm = Annotated[int, Meta(ge=0, le=1_000_000)]  # a rate in millionths
BondMicro = Annotated[int, Meta(ge=0, le=10**12)]  # what a new participant pays or deposits, micro-credits


def check_network_name(name: str) -> None:
    """Raises ConfigError where `name` cannot be a network's name."""
    if not NETWORK_NAME.match(name):
        raise ConfigError(NAME_RULE, field="network")


class ModelSpec(Message, frozen=True):
    """What a model id means on this network, so that everybody serves and checks the same model. Hashes are SHA-256."""

    model: Short  # the id that requests name
    weights_hash: Bytes32
    template_hash: Bytes32  # of the chat template; zeros: it has none, and takes completions only
    precision: Short  # of the weights as served, such as "bfloat16"
    price_micro: U64  # first price of a plain token
    price_floor_micro: U64  # the price never falls below this
    context_tokens: U32  # prompt and output together
    tokenizer_hash: Bytes32 = bytes(32)
    cost_milli: Annotated[int, Meta(ge=1, lt=2**32)] = 1000  # weight of one of its tokens, against a plain token's 1000
    stacks: Annotated[tuple[Short, ...], Meta(max_length=MAX_FAMILIES)] = ()  # families that may serve it; empty: any
    # The calibration profile that validators must judge by, as hexadecimal digits; empty: any.
    profile_hash: Annotated[str, Meta(max_length=MAX_PROFILE_HASH)] = ""
    retired: bool = False  # a retired model takes no requests
    # How far the log-probabilities of honest validators on different kernels differ at most, in the mean, thousandths
    # of a nat (`python -m p2p.lab.measure.kernel_distance`). 0: not known, and nobody is barred for it.
    kernel_distance_milli: Annotated[int, Meta(ge=0, le=10_000)] = 0
    price_ceiling_micro: U64 = 0  # the price never rises above this; 0: a hundred times price_micro
    # Token ids are below this: an answer with a larger one could be scored by nobody. The default is what a row of an
    # artifact can hold.
    vocabulary: Annotated[int, Meta(ge=1, le=MAX_VOCABULARY)] = MAX_VOCABULARY
    eos_ids: Annotated[tuple[U32, ...], Meta(max_length=MAX_EOS_IDS)] = ()  # they end an answer; empty: the engine's do

    # The special tokens that the chat template may name, such as ("bos_token", "<s>").
    template_tokens: Annotated[tuple[tuple[Short, Short], ...], Meta(max_length=MAX_TEMPLATE_TOKENS)] = ()
    tool_format: Short = ""  # how the model writes calls of tools (text/tool_formats); empty: it does not

    def ends(self, engines: frozenset[int]) -> frozenset[int]:
        """The token ids that end an answer. engines: those that an engine reports, used only where the registry names
        none, because two kinds of engine may report different ones."""
        return frozenset(self.eos_ids) or engines


class GenesisPeer(Message, frozen=True):
    """A peer that is registered from height 0."""

    node: Bytes32  # its node key
    owner: Bytes32  # the account that is paid
    weight: U64  # in consensus and in draws
    models: tuple[Short, ...]  # ids that it serves


class GenesisAccount(Message, frozen=True):
    """An account that has credits at height 0."""

    account: Bytes32
    balance_micro: U64


class GenesisChange(Message, frozen=True):
    """A planned change of consensus weight."""

    epoch: U32  # it holds from the first height of this epoch; 0 is the first epoch
    node: Bytes32
    weight: U64  # the new weight


class CheckRules(Message, frozen=True):
    """How answers are checked, and what follows for executors and validators.

    Cheating must not pay: `saving_micro`, `reward_micro`, `slashable_micro` and `false_accept_ppm` are C, R, S and r of
    the deterrence bound, which gives the share of answers to check (verification/duty.py).
    """

    dispute_committee: Annotated[int, Meta(ge=3, le=MAX_COMMITTEE)] = 3  # validators of a second committee
    reveal_window: Positive = 20  # heights to reveal a verdict
    saving_micro: U64 = 500  # C: what cheating saves in one inference
    reward_micro: U64 = 50_000  # R: what a participant earns in an epoch
    slashable_micro: U64 = 0  # S: what it can lose besides
    false_accept_ppm: Ppm = 10_000  # r: share of faulty answers that one check accepts
    min_checked_tokens: U64 = 2000  # output tokens of an executor that are checked in an epoch before chance decides
    min_checks: U32 = 10  # checked inferences of an executor to expect in an epoch
    reputation_gain: Annotated[int, Meta(ge=0, le=100)] = 5  # points for an epoch without a fault
    # Mean absolute difference of log-probabilities up to which two validators agree, thousandths of a nat.
    reveal_tolerance_milli: U32 = 800
    honest_outlier_ppm: Ppm = 10_000  # rate of verdicts in which an honest validator may be the outlier
    honest_miss_ppm: Ppm = 50_000  # rate of duties that an honest validator may miss
    # Chance that one of these two rates bars an honest validator in an epoch.
    conviction_ppb: Annotated[int, Meta(ge=0, le=10**9)] = 1000
    # A dispute whose likelihood ratio is at most this is in the grey zone, thousandths of a nat.
    grey_milli: U32 = 12_000
    # A validator that loses in the grey zone, but measured as the others did up to this, misjudged and did not lie;
    # thousandths of a nat.
    near_milli: U32 = 2000
    # Largest weight of one inference in the sequential test, thousandths of a nat.
    llr_cap_milli: Annotated[int, Meta(ge=1, le=1_000_000)] = 6000
    # Log e-value that convicts an executor, thousandths of a nat; 13_816 is ln 1e6: an honest one in one epoch of 1e6.
    conviction_milli: U32 = 13_816
    plant_every: Positive = 20  # one planted fault for so many booked inferences
    plant_window: Positive = 20  # heights after the decision in which a planted fault is revealed
    # How often one check may call an honest answer a cheat. Calibration profiles have thresholds for 10_000, 1000 and
    # 100.
    false_alarm_ppm: Annotated[int, Meta(ge=100, le=10_000)] = 1000
    honest_disagree_ppm: Ppm = 20_000  # rate at which the records of an honest agent and an honest executor may differ
    # Share of faulty answers that an honest validator may call valid. Counted are answers found faulty beyond the grey
    # zone, and not by validators with equal kernels alone.
    honest_missed_fault_ppm: Annotated[int, Meta(ge=1000, le=500_000)] = 50_000
    # Heights in which a lost dispute may be appealed; 0: no appeal. The dispute's committee, this window and the
    # appeal's committee must fit into one epoch (ledger/rules/windows.py).
    appeal_window: U32 = 20
    appeal_committee: Annotated[int, Meta(ge=3, le=MAX_COMMITTEE)] = 7  # at least dispute_committee
    exclusion_max_epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 64  # longest exclusion for one conviction
    exclusion_clean_epochs: Positive = 10  # epochs without a fault after which a conviction is forgotten
    # Kernels are shared where other owners that are known to have them hold this share of the weight of all others
    # that are known to serve the model. An executor on kernels that are not is always checked (decision 067).
    shared_kernels_milli: Share = 250


class EconomyRules(Message, frozen=True):
    """Who earns and pays what. Waits and windows are heights."""

    emission_micro: U64 = 1_000_000  # minted in an epoch in which any inference was booked
    # Of each settled fee: to the validators that did their duty in the epoch, and burnt. The executor has the rest.
    validator_share_milli: Share = 100
    burn_share_milli: Share = 50
    price_low_milli: Share = 400  # below this utilisation of the last price_window heights a model's price falls
    price_high_milli: Share = 600  # above this one it rises
    price_step_milli: Share = 20  # by this share of itself, at least 1 micro-credit, at the end of each window
    price_window: Annotated[int, Meta(ge=1, le=1000)] = 10
    tokens_per_weight: Positive = 100  # output tokens in one height that a unit of weight is assumed to serve
    collateral_min_micro: U64 = 0  # deposit that a serving peer needs
    withdraw_wait: Positive = 200  # from asking for collateral, or leaving, to receiving it
    slash_milli: Share = 200  # of the collateral, taken on conviction
    bounty_milli: Share = 500  # of a slashed amount, to the validators that found the cheat; the rest is burnt
    accuse_penalty_micro: U64 = 10_000  # from the collateral of a validator that accused falsely
    owner_cap_milli: Annotated[int, Meta(ge=1, le=1000)] = 300  # largest share of all weight for one owner's nodes
    output_window: Positive = 50  # after the finish, for the agent to record what it streamed
    gov_window: Positive = 50  # to vote on a proposal
    gov_quorum_milli: Annotated[int, Meta(ge=1, le=1000)] = 500  # of all weight, that must vote yes
    keep_epochs: Positive = 2  # epochs for which an ended inference stays in the state
    appeal_bond_micro: U64 = 10_000  # held while a lost dispute is appealed; burnt when the appeal is lost too
    # Most that is minted for a participant, as a share of the fees booked for it. Up to burn_share + validator_share x
    # (1 - owner_cap) nobody gains by paying itself (decision 019).
    emission_cap_milli: U64 = 120
    # Paid duties of the epoch that a validator loses for each duty in which it was the outlier (rules J1 to J4).
    outlier_duties: U32 = 10
    # The price stays between the one that began the epoch divided by this factor and that one times it, in thousandths.
    price_epoch_milli: Annotated[int, Meta(ge=1001, le=1_000_000)] = 2000
    # What a new participant deposits until it leaves, and what it pays (ledger/participants/places.py).
    registration_bond_micro: BondMicro = 10_000
    registration_fee_micro: BondMicro = 1000
    # Share of its part of a fee that an executor has while its kernels are not shared; the rest is burnt.
    unshared_pay_milli: Share = 600


class SprintRules(Message, frozen=True):
    """The sprint at the beginning of each epoch: its checked answers become the next epoch's weights
    (ledger/participants/sprint.py)."""

    blocks: U32 = 0  # heights in which answers are made; 0: no sprint, weights stay those of the genesis file
    open_blocks: Positive = 20  # heights to show the drawn answers
    # Answers drawn of each commitment. At least two: with one, padding a commitment with false answers would not lose
    # (decision 017).
    samples: Annotated[int, Meta(ge=2, le=64)] = 4
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)] = 64  # of one answer
    unit_tokens: Positive = 1000  # checked tokens, times the model's cost factor, that make one unit of weight
    # Of the sampling. Not 0: without sampling the tape's noise would not bind the answer.
    temperature_milli: Annotated[int, Meta(ge=1, le=2000)] = 1000


class Genesis(Message, frozen=True, dict=True):
    """The beginning of a network. Its hash is part of the first header and, through `network`, of everything that is
    signed."""

    ITEMS: ClassVar[int] = MAX_GENESIS_ITEMS

    version: U32
    name: Short  # for people; NETWORK_NAME says what is allowed (checked in ledger/genesis.py)
    time_ms: U64  # Unix time of height 0
    peers: tuple[GenesisPeer, ...]
    accounts: tuple[GenesisAccount, ...]
    models: tuple[ModelSpec, ...]
    committee: U32 = 3  # validators drawn for one inference
    validation_delay: U32 = 1  # heights between the root on chain and the beacon that draws its validators
    validation_window: U32 = 60  # heights in which a drawn validator commits its verdict
    epoch_blocks: Positive = 200  # heights of one epoch; the validator set changes only between two epochs
    changes: tuple[GenesisChange, ...] = ()
    checks: CheckRules = CheckRules()
    economy: EconomyRules = EconomyRules()
    sprint: SprintRules = SprintRules()

    @cached_property
    def hash(self) -> bytes:
        """SHA-256, 32 bytes, over the encoded genesis."""
        return digest(b"genesis", encode(self))

    @cached_property
    def network(self) -> NetworkId:
        """The network's id, which every signature names: the name, '@' and 128 bits of the hash. A network that starts
        again under an old name has another id, so no request, transaction or vote of the old one is valid on it
        (decision 036)."""
        return NetworkId(f"{self.name}@{self.hash.hex()[:HASH_DIGITS]}")


def load_genesis(file: Path, *, field: str = "genesis") -> Genesis:
    """The genesis in `file`. Raises ConfigError that names the file when it is missing, cut off, or not a genesis
    file."""
    raw = read_file(file, MAX_FRAME, field=field)
    try:
        return unpack(Genesis, raw)
    except RemoteProtocolError as error:
        raise ConfigError(
            f"{file} is not a genesis file of this program, or is cut off ({len(raw)} bytes; {error});"
            " get it again from the network's founders", field=field,
        ) from error
