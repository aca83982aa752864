"""Brings a whole network up: model, ML nodes, peers.

Law: shared by `folkmoot testnet up`, the demo, the bench and the shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p.base.files import write_file
from p2p.base.genesis import CheckRules, Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.client.network_file import dump_network
from p2p.lab import attacks
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.generate import DEFAULT_CHECKS, NO_SPRINT, SHORT_EPOCH, SHORT_SPRINT, SHORT_WINDOW, Plan, generate
from testnet.processes import Say, fresh_directory, start_ml_node, stop, up
from testnet.state_file import read_state

NETWORK_FILE = "network.toml"  # how to join it: folkmoot join DIR/network.toml


@dataclass(frozen=True, slots=True)
class Running:
    """A network that is up."""

    directory: Path
    folders: list[Path]  # of the peers, in order
    bootstrap: str  # multiaddr of the first peer
    ml_nodes: dict[str, str]  # name of a peer's folder -> URL of its ML node

    def node(self, index: int) -> str:
        """Public node key of a peer (numbers from 0), hexadecimal."""
        return Key.load(self.folders[index] / "node.key").public.hex()

    def address(self, index: int) -> str:
        """Multiaddr of a peer."""
        return str(read_state(self.directory)["addresses"][self.folders[index].name])

    @property
    def client(self) -> Path:
        """Folder of the client that has money: account.key, genesis.cbor."""
        return self.directory / "client"

    @property
    def genesis(self) -> Genesis:
        return load_genesis(self.client / "genesis.cbor")

    def query(self, **request: Any) -> dict[str, Any]:
        """What the first peer answers. Raises InvalidRequest, Unavailable."""
        return call(self.folders[0], request)


def bring_up(
    directory: Path, peers: int, ml_nodes: int, cheats: Mapping[int, str] | None, say: Say, *,
    epoch_blocks: int = 200, sprint: bool = False, joiners: int = 0, checks: CheckRules = DEFAULT_CHECKS,
    stays: bool = False, context_tokens: int = 2048,
) -> Running:
    """Start a new network in `directory`. On an error everything that was started is stopped.

    cheats: number of a peer, from 0 -> name of its attack. ml_nodes: honest vLLM servers, lent to the peers in turn;
    each kind of altered engine that the cheats need gets one more. sprint: weights come from a short sprint, in epochs
    of SHORT_EPOCH heights. joiners, checks: as in Plan. stays: when this process has ended.
    context_tokens: of the model. say takes lines of progress.
    """
    fresh_directory(directory, stays=stays)
    try:
        return _bring_up(
            directory, peers, ml_nodes, cheats or {}, say, epoch_blocks, sprint, joiners, checks, context_tokens
        )
    except BaseException:
        stop(directory)
        raise


def _bring_up(
    directory: Path, peers: int, ml_nodes: int, cheats: Mapping[int, str], say: Say, epoch_blocks: int, sprint: bool,
    joiners: int, checks: CheckRules, context: int,
) -> Running:
    model, urls, altered = None, list[str](), dict[int, str]()
    if ml_nodes:
        from p2p.inference.stack.model import prepare_model

        model = prepare_model(say)
        say(f"starting {ml_nodes} ML node{'s' if ml_nodes > 1 else ''} (vLLM, about a minute)")
        flags = (f"--max-model-len={context}",)
        urls = [start_ml_node(directory, f"ml{i + 1}", model, say, flags=flags) for i in range(ml_nodes)]
        altered = _altered_nodes(directory, model, cheats, say)
    plan = Plan(
        directory, peers, model_dir=model, cheats=cheats, honest_ml_node=urls[0] if urls else "",
        serving=bool(ml_nodes), epoch_blocks=SHORT_EPOCH if sprint else epoch_blocks,
        validation_window=SHORT_WINDOW if sprint else 60, sprint=SHORT_SPRINT if sprint else NO_SPRINT,
        joiners=joiners, checks=checks, context_tokens=context,
    )
    folders = generate(plan)
    lent = {folder.name: altered.get(i, urls[i % len(urls)]) for i, folder in enumerate(folders)} if urls else {}
    network = Running(directory, folders, up(directory, folders, lent, say), lent)
    write_file(directory / NETWORK_FILE, dump_network(network.genesis, (network.bootstrap,)).encode(), field="dir")
    settings = dump_toml({"bootstrap": [network.bootstrap]})  # so that `folkmoot ask --dir DIR/client` finds a peer
    write_file(network.client / "config.toml", settings.encode(), field="dir")
    return network


def _altered_nodes(directory: Path, model: Path, cheats: Mapping[int, str], say: Say) -> dict[int, str]:
    """Start the altered engines: number of a cheat -> URL. Cheats with the same weights and flags share a vLLM."""
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
            found[kind] = start_ml_node(
                directory, f"ml-{attack.weights or name}", folder, say, serves=DEFAULT_MODEL, flags=attack.vllm_flags,
            )
        urls[index] = found[kind]
    return urls
