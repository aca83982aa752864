"""What a network is made of: its models, its rules, its first peers and accounts. Law: data only; integers, so that all compute the same."""

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
from p2p.base.limits import MAX_EOS_IDS, MAX_FRAME, MAX_GENESIS_ITEMS, MAX_NETWORK_NAME, MAX_OUTPUT_TOKENS, MAX_VOCABULARY
from p2p.base.types import U32, U64, Bytes32, Short

HASH_DIGITS = 32  # of the genesis file's hash, in a network's id
NETWORK_NAME = re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9._-]{{0,{MAX_NETWORK_NAME - 1}}}\Z")  # it stands in the names of topics
NAME_RULE = f"a network has a name of 1 to {MAX_NETWORK_NAME} letters, digits, dots, dashes and underscores"


def check_network_name(name: str) -> None:
    """Raises ConfigError."""
    if not NETWORK_NAME.match(name):
        raise ConfigError(NAME_RULE, field="network")


class ModelSpec(Message, frozen=True):
    """What a model id means on this network. Hashes are SHA-256.

    cost_milli: what a token of it weighs, in thousandths of a plain one. stacks: families it may be served on, none named = any.
    profile_hash: of the calibration profile its validators must judge by, hexadecimal, empty = any. retired: takes no requests.
    kernel_distance_milli: how far the numbers of honest validators on different kernels are apart at most, in the mean, thousandths of a nat
    (`python -m p2p.lab.measure.kernel_distance`); 0 = not known, nobody is barred for it. price_ceiling_micro: above which
    its price never goes; 0 = a hundred times price_micro. vocabulary: token ids are below it; an answer with others could be
    scored by nobody. The default is what an artifact's rows can hold. eos_ids: the ids that end an answer.
    """

    model: Short
    weights_hash: Bytes32
    template_hash: Bytes32
    precision: Short
    price_micro: U64
    price_floor_micro: U64
    context_tokens: U32
    tokenizer_hash: Bytes32 = bytes(32)
    cost_milli: Annotated[int, Meta(ge=1, lt=2**32)] = 1000
    stacks: Annotated[tuple[Short, ...], Meta(max_length=16)] = ()
    profile_hash: Annotated[str, Meta(max_length=64)] = ""
    retired: bool = False
    kernel_distance_milli: Annotated[int, Meta(ge=0, le=10_000)] = 0
    price_ceiling_micro: U64 = 0
    vocabulary: Annotated[int, Meta(ge=1, le=MAX_VOCABULARY)] = MAX_VOCABULARY
    eos_ids: Annotated[tuple[U32, ...], Meta(max_length=MAX_EOS_IDS)] = ()

    def ends(self, engines: frozenset[int]) -> frozenset[int]:
        """The ids that end an answer; what an engine says only where the registry names none, for engines of two kinds may say different ones."""
        return frozenset(self.eos_ids) or engines


class GenesisPeer(Message, frozen=True):
    """A peer known from the start: node key, owner's account, consensus weight, models it serves."""

    node: Bytes32
    owner: Bytes32
    weight: U64
    models: tuple[Short, ...]


class GenesisAccount(Message, frozen=True):
    account: Bytes32
    balance_micro: U64


class GenesisChange(Message, frozen=True):
    """A planned change of consensus weight, from the first height of `epoch` on (0 is the first epoch)."""

    epoch: U32
    node: Bytes32
    weight: U64


class CheckRules(Message, frozen=True):
    """How answers are checked and who pays for what is found. Integers, so that every peer computes the same.

    dispute_committee: validators of a second committee. reveal_window: heights to reveal. saving_micro: what cheating saves in
    one inference (C). reward_micro: what a participant earns in an epoch (R). slashable_micro: what it can lose besides (S).
    false_accept_ppm: share of faulty answers that one check lets pass (r), in millionths. The deterrence bound is made of these
    four (duty.deterrence_milli). min_checked_tokens: output tokens of an executor checked in an epoch before anything is left to
    chance. min_checks: inferences of an executor expected to be checked in an epoch. reputation_gain: points for a clean epoch.
    reveal_tolerance_milli: mean |difference| of log-probabilities at which two validators still agree, thousandths of a nat.
    honest_outlier_ppm, honest_miss_ppm: rates an honest validator may show, in millionths. conviction_ppb: chance, in thousand-millionths, that
    an honest validator is barred in an epoch by one of the two. grey_milli, near_milli: a dispute whose ratio is up to the first is a
    grey zone: who lost it and measured as the others did (to the second), has judged, not lied; thousandths of a nat.
    llr_cap_milli: bound of one inference's weight in the sequential test, thousandths of a nat.
    conviction_milli: log e-value that convicts an executor, thousandths of a nat (13_816 = ln 1e6: falsely in one epoch of 1e6).
    plant_every: one planted fault per so many booked inferences. plant_window: heights after the decision to reveal it.
    honest_blind_ppm: of the answers that were found faulty beyond the grey zone, by others than equal kernels alone, how many an honest validator may
    have called valid, in millionths.
    false_alarm_ppm: how often one check may call an honest answer a cheat, in millionths: a rate that calibration profiles have
    thresholds for (10_000, 1000 or 100).
    honest_disagree_ppm: rate at which the records of an honest agent and an honest executor may differ, in millionths.
    appeal_window: heights in which a lost dispute may be appealed, 0 = there is no appeal. A dispute's committee, this window and the appeal's
    committee must fit into an epoch (ledger/windows.py). appeal_committee: validators of an appeal, not fewer than dispute_committee.
    exclusion_max_epochs: longest time for which one conviction excludes. exclusion_clean_epochs: clean epochs that make one forgotten.
    """

    dispute_committee: Annotated[int, Meta(ge=3, le=64)] = 3
    reveal_window: Annotated[int, Meta(ge=1, lt=2**32)] = 20
    saving_micro: U64 = 500
    reward_micro: U64 = 50_000
    slashable_micro: U64 = 0
    false_accept_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    min_checked_tokens: U64 = 2000
    min_checks: U32 = 10
    reputation_gain: Annotated[int, Meta(ge=0, le=100)] = 5
    reveal_tolerance_milli: U32 = 800
    honest_outlier_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    honest_miss_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 50_000
    conviction_ppb: Annotated[int, Meta(ge=0, le=10**9)] = 1000
    grey_milli: U32 = 12_000
    near_milli: U32 = 2000
    llr_cap_milli: Annotated[int, Meta(ge=1, le=1_000_000)] = 6000
    conviction_milli: U32 = 13_816
    plant_every: Annotated[int, Meta(ge=1, lt=2**32)] = 20
    plant_window: Annotated[int, Meta(ge=1, lt=2**32)] = 20
    false_alarm_ppm: Annotated[int, Meta(ge=100, le=10_000)] = 1000
    honest_disagree_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 20_000
    honest_blind_ppm: Annotated[int, Meta(ge=1000, le=500_000)] = 50_000
    appeal_window: U32 = 20
    appeal_committee: Annotated[int, Meta(ge=3, le=64)] = 7
    exclusion_max_epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 64
    exclusion_clean_epochs: Annotated[int, Meta(ge=1, lt=2**32)] = 10


Share = Annotated[int, Meta(ge=0, le=1000)]  # thousandths


class EconomyRules(Message, frozen=True):
    """Who earns what. Amounts in micro-credits, shares in thousandths, waits in heights.

    emission_micro: minted in an epoch in which somebody worked. validator_share_milli, burn_share_milli: of each settled fee, to the
    validators who did their duty in the epoch, and to nobody; the executor has the rest. price_low_milli, price_high_milli: between these
    utilisations of the last price_window heights a model's price rests; outside it moves by price_step_milli of itself, at least 1, at the end
    of each window.
    tokens_per_weight: output tokens of one height that a unit of weight is taken to be able to serve. collateral_min_micro: what must be
    deposited to serve. withdraw_wait: between asking for collateral, or leaving, and getting it. slash_milli: of the collateral, on
    conviction. bounty_milli: of a slashed amount, to the validators who found the cheat; the rest is burnt. accuse_penalty_micro: from
    the collateral of who accused falsely. owner_cap_milli: largest share of all weight that one owner's nodes count for. output_window:
    after the finish, for the agent to say what it streamed. gov_window: to vote on a proposal. gov_quorum_milli: of all weight, that must
    say yes. keep_epochs: how long ended inferences stay in the state. appeal_bond_micro: held while a lost dispute is appealed, burnt when
    the appeal is lost as well. emission_cap_milli: most that is minted for a participant, of the fees booked for it; up to burn_share +
    validator_share x (1 - owner_cap) nobody gains by paying itself (decision 019). odd_duties: duties of the epoch that a validator is not paid for,
    for each in which it stood alone (rules J1 to J4). price_epoch_milli: how many times the price with which an epoch began its prices are at most,
    and that one of them at least. registration_bond_micro, registration_fee_micro: what a new participant's place holds until it leaves, and
    costs (ledger/places.py).
    """

    emission_micro: U64 = 1_000_000
    validator_share_milli: Share = 100
    burn_share_milli: Share = 50
    price_low_milli: Share = 400
    price_high_milli: Share = 600
    price_step_milli: Share = 20
    price_window: Annotated[int, Meta(ge=1, le=1000)] = 10
    tokens_per_weight: Annotated[int, Meta(ge=1, lt=2**32)] = 100
    collateral_min_micro: U64 = 0
    withdraw_wait: Annotated[int, Meta(ge=1, lt=2**32)] = 200
    slash_milli: Share = 200
    bounty_milli: Share = 500
    accuse_penalty_micro: U64 = 10_000
    owner_cap_milli: Annotated[int, Meta(ge=1, le=1000)] = 300
    output_window: Annotated[int, Meta(ge=1, lt=2**32)] = 50
    gov_window: Annotated[int, Meta(ge=1, lt=2**32)] = 50
    gov_quorum_milli: Annotated[int, Meta(ge=1, le=1000)] = 500
    keep_epochs: Annotated[int, Meta(ge=1, lt=2**32)] = 2
    appeal_bond_micro: U64 = 10_000
    emission_cap_milli: U64 = 120
    odd_duties: U32 = 10
    price_epoch_milli: Annotated[int, Meta(ge=1001, le=1_000_000)] = 2000
    registration_bond_micro: Annotated[int, Meta(ge=0, le=10**12)] = 10_000
    registration_fee_micro: Annotated[int, Meta(ge=0, le=10**12)] = 1000


class SprintRules(Message, frozen=True):
    """The race at the beginning of each epoch whose checked answers become the next epoch's weights (ledger/sprint.py).

    blocks: heights in which answers are made, 0 = there is no race and weights are the genesis file's. open_blocks: heights to show the drawn
    ones. samples: answers drawn of each commitment; with one, padding would not lose (decision 017). max_tokens: of an answer. unit_tokens:
    checked tokens x the model's cost factor that make one of weight. temperature_milli: of the sampling, not 0, or no tape would bind the answer.
    """

    blocks: U32 = 0
    open_blocks: Annotated[int, Meta(ge=1, lt=2**32)] = 20
    samples: Annotated[int, Meta(ge=2, le=64)] = 4
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)] = 64
    unit_tokens: Annotated[int, Meta(ge=1, lt=2**32)] = 1000
    temperature_milli: Annotated[int, Meta(ge=1, le=2000)] = 1000


class Genesis(Message, frozen=True, dict=True):
    """The beginning of a network. Its hash is part of the first header and, through `network`, of everything that is signed.

    name: for people, as NETWORK_NAME allows it (ledger/genesis.py looks).
    """

    ITEMS: ClassVar[int] = MAX_GENESIS_ITEMS

    version: U32
    name: Short
    time_ms: U64
    peers: tuple[GenesisPeer, ...]
    accounts: tuple[GenesisAccount, ...]
    models: tuple[ModelSpec, ...]
    committee: U32 = 3  # validators drawn for one inference
    validation_delay: U32 = 1  # heights between the root on chain and the beacon that draws its validators
    validation_window: U32 = 60  # heights a drawn validator has to commit its verdict
    epoch_blocks: Annotated[int, Meta(ge=1, lt=2**32)] = 200  # heights of one epoch: the validator set changes only between them
    changes: tuple[GenesisChange, ...] = ()
    checks: CheckRules = CheckRules()
    economy: EconomyRules = EconomyRules()
    sprint: SprintRules = SprintRules()

    @cached_property
    def hash(self) -> bytes:
        return digest(b"genesis", encode(self))

    @cached_property
    def network(self) -> NetworkId:
        """What is signed: the name and 128 bits of the hash. A network that begins anew under an old name is another one: no order,
        request or vote of the old one counts there."""
        return NetworkId(f"{self.name}@{self.hash.hex()[:HASH_DIGITS]}")


def load_genesis(file: Path, *, field: str = "genesis") -> Genesis:
    """Raises ConfigError naming the file when it is missing, cut, or of another program."""
    raw = read_file(file, MAX_FRAME, field=field)
    try:
        return unpack(Genesis, raw)
    except RemoteProtocolError as error:
        raise ConfigError(
            f"{file} is no genesis file of this program, or not a whole one ({len(raw)} bytes; {error}); get it again from the network's founders",
            field=field,
        ) from error
