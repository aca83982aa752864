"""Which values of a genesis file the ledger can work with. Law: a chain with accepted values never meets a sum that
its records cannot hold, a division by zero, a wait without end, or a rule that nobody can compute.

The types say what a field can hold; the tables here say what the ledger can use. Votes are held to the same bounds
(rules/parameters.py, `sound`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from p2p.base.errors import ConfigError, InvalidRequest, unsupported_version
from p2p.base.genesis import NAME_RULE, NETWORK_NAME, CheckRules, EconomyRules, Genesis, ModelSpec
from p2p.base.limits import MAX_VALIDATORS
from p2p.base.types import VERSION
from p2p.ledger.participants.places import MAX_PARTICIPANTS
from p2p.ledger.participants.registry import MAX_NODES
from p2p.ledger.participants.sprint import check_sprint
from p2p.ledger.participants.weights import MAX_WEIGHT
from p2p.ledger.rules import windows
from p2p.ledger.rules.models import MAX_MODELS
from p2p.ledger.rules.parameters import sound

MAX_SUPPLY: Final = 1 << 62  # micro-credits of all accounts in the file; what is minted later fits above it for ever
MAX_TIME_MS: Final = 1 << 43  # the year 2248
MAX_CHANGES: Final = 4096

_GENESIS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType({
    "time_ms": (0, MAX_TIME_MS), "committee": (1, 64), "validation_delay": (0, 1000),
    "validation_window": (1, 1_000_000), "epoch_blocks": (2, 10_000_000),
})
_SPRINT: Final[Mapping[str, tuple[int, int]]] = MappingProxyType({
    "blocks": (0, 1_000_000), "open_blocks": (1, 1_000_000),
})


def check_values(genesis: Genesis) -> None:
    """Raises ConfigError naming the field, what is allowed and what to do."""
    for field, problem in _problems(genesis):
        raise ConfigError(problem, field=field)
    _check_rules("checks", genesis.checks)
    _check_rules("economy", genesis.economy)
    for spec in genesis.models:
        _check_rules("models", spec)
    check_sprint(genesis)
    if found := windows.problem(genesis):
        raise ConfigError(found, field="epoch_blocks")


def _check_rules(where: str, rules: CheckRules | EconomyRules | ModelSpec) -> None:
    try:
        sound(rules)
    except InvalidRequest as error:
        raise ConfigError(error.message, field=f"{where}.{error.field}") from error


def _problems(genesis: Genesis) -> Iterator[tuple[str, str]]:
    if genesis.version != VERSION:
        wrong = unsupported_version("genesis", genesis.version, VERSION)
        yield "version", f"{wrong}; get a genesis file of this version"
    if not NETWORK_NAME.match(genesis.name):
        yield "name", NAME_RULE
    for table, holder, where in ((_GENESIS, genesis, ""), (_SPRINT, genesis.sprint, "sprint.")):
        for name, (low, high) in table.items():
            if not low <= getattr(holder, name) <= high:
                yield where + name, f"from {low} to {high}, not {getattr(holder, name)}"
    yield from _peers(genesis)
    yield from _accounts(genesis)
    yield from _models(genesis)
    yield from _changes(genesis)


def _peers(genesis: Genesis) -> Iterator[tuple[str, str]]:
    nodes = [peer.node for peer in genesis.peers]
    owners = [peer.owner for peer in genesis.peers]
    weights = [peer.weight for peer in genesis.peers if peer.weight]
    if not 1 <= len(nodes) <= MAX_PARTICIPANTS:
        yield "peers", f"1 to {MAX_PARTICIPANTS} peers begin a network, not {len(nodes)}"
    if not 1 <= len(weights) <= MAX_VALIDATORS:
        yield "peers.weight", f"1 to {MAX_VALIDATORS} peers have weight, not {len(weights)}: the others begin with 0"
    if weights and max(weights) > MAX_WEIGHT:
        yield "peers.weight", f"at most {MAX_WEIGHT} each; scale all of them down"
    if len(set(nodes)) != len(nodes):
        yield "peers.node", "two peers have the same key; each needs its own"
    if any(owners.count(owner) > MAX_NODES for owner in set(owners)):
        yield "peers.owner", f"an account owns at most {MAX_NODES} nodes"
    known = {spec.model for spec in genesis.models}
    if unknown := {model for peer in genesis.peers for model in peer.models} - known:
        yield "peers.models", f"{sorted(unknown)[0][:60]!r} is not among the models; add it there, or take it out here"
    if any(len(set(peer.models)) != len(peer.models) for peer in genesis.peers):
        yield "peers.models", "a peer names a model twice"


def _accounts(genesis: Genesis) -> Iterator[tuple[str, str]]:
    names = [account.account for account in genesis.accounts]
    if len(set(names)) != len(names):
        yield "accounts", "an account is named twice; add up what it has"
    if (total := sum(account.balance_micro for account in genesis.accounts)) > MAX_SUPPLY:
        yield "accounts.balance_micro", f"at most {MAX_SUPPLY} micro-credits in all, not {total}; count in larger units"


def _models(genesis: Genesis) -> Iterator[tuple[str, str]]:
    names = [spec.model for spec in genesis.models]
    if len(names) > MAX_MODELS:
        yield "models", f"a network has at most {MAX_MODELS} models"
    if len(set(names)) != len(names):
        yield "models.model", "two models have the same name; rename one"
    for spec in genesis.models:
        if spec.retired:
            yield "models.retired", f"{spec.model[:60]!r} is retired; a network begins with models in use: leave it out"


def _changes(genesis: Genesis) -> Iterator[tuple[str, str]]:
    if len(genesis.changes) > MAX_CHANGES:
        yield "changes", f"at most {MAX_CHANGES} planned changes"
        return
    if len({(change.epoch, change.node) for change in genesis.changes}) != len(genesis.changes):
        yield "changes", "two changes of one peer in one epoch; keep one of them"
    planned = {peer.node: peer.weight for peer in genesis.peers}
    for epoch in sorted({change.epoch for change in genesis.changes}):
        planned |= {change.node: change.weight for change in genesis.changes if change.epoch == epoch}
        weights = [weight for weight in planned.values() if weight]
        if not 1 <= len(weights) <= MAX_VALIDATORS or max(weights) > MAX_WEIGHT:
            allowed = f"1 to {MAX_VALIDATORS}, of at most {MAX_WEIGHT} each"
            yield "changes.weight", f"in epoch {epoch} there would be {len(weights)} peers with weight: {allowed}"
