"""Bring a whole network up: model, ML nodes, peers. Law: shared by `testnet up`, the demo and the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2p.base.genesis import CheckRules
from p2p.lab import attacks
from testnet.generate import DEFAULT_CHECKS, NO_SPRINT, SHORT_EPOCH, SHORT_SPRINT, SHORT_WINDOW, Plan, generate
from testnet.providers import Say, fresh_directory, start_ml_node, stop, up


@dataclass(frozen=True, slots=True)
class Running:
    directory: Path
    folders: list[Path]
    bootstrap: str
    ml_nodes: dict[str, str]


def bring_up(
    directory: Path, peers: int, ml_nodes: int, cheats: Mapping[
        int, str
    ] | None, say: Say, *, epoch_blocks: int = 200, sprint: bool = False,
    joiners: int = 0, checks: CheckRules = DEFAULT_CHECKS,
) -> Running:
    """`peers` peers, of them `cheats` (index from 0 -> attack); ml_nodes honest vLLM servers in turn, and one for each
    kind of altered engine that the cheats need. sprint: weights come from a short one, in epochs of SHORT_EPOCH
    heights. joiners, checks: as in Plan. Stops all it started on an error."""
    fresh_directory(directory)
    try:
        return _bring_up(directory, peers, ml_nodes, cheats or {}, say, epoch_blocks, sprint, joiners, checks)
    except BaseException:
        stop(directory)
        raise


def _bring_up(
    directory: Path, peers: int, ml_nodes: int, cheats: Mapping[int, str], say: Say, epoch_blocks: int, sprint: bool,
    joiners: int,
    checks: CheckRules,
) -> Running:
    model, urls, altered = None, list[str](), dict[int, str]()
    if ml_nodes:
        from p2p.inference.stack.model import prepare_model

        model = prepare_model(say)
        say(f"starting {ml_nodes} ML node{'s' if ml_nodes > 1 else ''} (vLLM, about a minute)")
        urls = [start_ml_node(directory, f"ml{i + 1}", model, say) for i in range(ml_nodes)]
        altered = _altered_nodes(directory, model, cheats, say)
    plan = Plan(
        directory, peers, model_dir=model, cheats=cheats, honest_ml_node=urls[0] if urls else "",
        serving=bool(ml_nodes),
        epoch_blocks=SHORT_EPOCH if sprint else epoch_blocks, validation_window=SHORT_WINDOW if sprint else 60,
        sprint=SHORT_SPRINT if sprint else NO_SPRINT, joiners=joiners, checks=checks,
    )
    folders = generate(plan)
    lent = {folder.name: altered.get(i, urls[i % len(urls)]) for i, folder in enumerate(folders)} if urls else {}
    return Running(directory, folders, up(directory, folders, lent, say), lent)


def _altered_nodes(directory: Path, model: Path, cheats: Mapping[int, str], say: Say) -> dict[int, str]:
    """The URLs of the cheats whose engine is not an honest one; cheats with the same weights and flags share a vLLM."""
    from p2p.lab.attacks import weights

    found: dict[tuple[str | None, tuple[str, ...]], str] = {}
    urls = {}
    for index, name in sorted(cheats.items()):
        attack = attacks.get(name)
        if not attack.own_engine:
            continue
        kind = (attack.weights, attack.vllm_flags)
        if kind not in found:
            say(f"starting the ML node of {name}: {attack.weights or ' '.join(attack.vllm_flags)}")
            folder = weights.prepare(attack.weights, say, model) if attack.weights else model
            found[kind] = start_ml_node(directory, f"ml-{attack.weights or name}", folder, say, flags=attack.vllm_flags)
        urls[index] = found[kind]
    return urls
