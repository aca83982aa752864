"""Bring a whole network up: model, ML nodes, peers. Law: shared by `testnet up`, the demo and the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testnet.generate import Plan, generate
from testnet.providers import Say, fresh_directory, start_ml_node, stop, up


@dataclass(frozen=True, slots=True)
class Running:
    directory: Path
    folders: list[Path]
    bootstrap: str
    ml_nodes: dict[str, str]


def bring_up(directory: Path, peers: int, ml_nodes: int, cheat: str | None, say: Say) -> Running:
    """peers honest peers, plus one cheat when named; ml_nodes vLLM servers in turn. Stops all it started on an error."""
    fresh_directory(directory)
    try:
        return _bring_up(directory, peers, ml_nodes, cheat, say)
    except BaseException:
        stop(directory)
        raise


def _bring_up(directory: Path, peers: int, ml_nodes: int, cheat: str | None, say: Say) -> Running:
    model, urls, cheat_url = None, [], ""
    if ml_nodes:
        from p2p.inference.model import prepare_model

        model = prepare_model(say)
        say(f"starting {ml_nodes} ML node{'s' if ml_nodes > 1 else ''} (vLLM, about a minute)")
        urls = [start_ml_node(directory, f"ml{i + 1}", model, say) for i in range(ml_nodes)]
        if cheat in ("int4", "smaller-model"):
            from p2p.inference.cheats import prepare_cheat

            say(f"starting the cheat's ML node: {cheat}")
            cheat_url = start_ml_node(directory, "ml-cheat", prepare_cheat(cheat), say)
    plan = Plan(directory, peers + bool(cheat), model_dir=model, cheat=cheat, serving=bool(ml_nodes))
    folders = generate(plan)
    lent = {folder.name: urls[i % len(urls)] for i, folder in enumerate(folders)} if urls else {}
    if cheat_url:
        lent[folders[-1].name] = cheat_url
    return Running(directory, folders, up(directory, folders, lent, say), lent)
