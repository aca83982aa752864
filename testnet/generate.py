"""Makes the files of a test network: keys, genesis, one folder for each peer and one for a client.

Law: everything a peer needs is in its folder, and all keys are new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from p2p.base.codec import encode
from p2p.base.files import make_folder, write_file
from p2p.base.genesis import CheckRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec, SprintRules
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.base.types import VERSION
from p2p.lab import attacks
from p2p.lab.settings import COLLUDING
from p2p.lab.settings import FILE as LAB_FILE
from p2p.ledger.genesis import check_genesis
from p2p.peer.config import DEFAULT_MODEL, LAB_SETTINGS

CLIENT_BALANCE_MICRO = 1_000_000_000
PRICE_MICRO = 10  # of a token
KERNEL_DISTANCE_MILLI = 80  # measured: 57 to 73 between three kinds of kernels, int8 weights 115 to 121 (lab/measure)
NO_SPRINT, DEFAULT_CHECKS = SprintRules(), CheckRules()
# a sprint of half a minute in an epoch of five minutes or so, for a network that somebody watches
SHORT_EPOCH, SHORT_WINDOW = 320, 40
SHORT_SPRINT = SprintRules(blocks=30, open_blocks=20, samples=3, max_tokens=32, unit_tokens=20)


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """One peer of a network."""

    name: str  # of its folder
    weight: int = 10  # in the genesis file; 0: it may take requests, and neither votes nor is drawn
    serves: bool = True  # a model
    models: tuple[str, ...] = ()  # that it serves; (): the plan's first one
    registered: bool = True  # False: it is not in the genesis file and may register later
    cheat: str = ""  # name of its attack
    settings: Mapping[str, Any] = field(default_factory=dict)  # of its config.toml alone


@dataclass(frozen=True, slots=True)
class Plan:
    """What network to make."""

    directory: Path
    peers: int
    network: str = "testnet"
    model_dir: Path | None = None  # the model that is served; None: an invented one, for a fake ML node
    more_models: Mapping[str, Path] = field(default_factory=dict)  # name -> folder, besides that in model_dir
    cheats: Mapping[int, str] = field(default_factory=dict)  # number of a peer, from 0 -> name of its attack
    honest_ml_node: str = ""  # URL of the ML node that cheats check others' work with
    context_tokens: int = 2048  # of the model, prompt and answer together
    serving: bool = True  # False: no peer serves a model
    settings: tuple[tuple[str, Any], ...] = ()  # more of config.toml, or of lab.toml, for every peer
    validation_window: int = 60  # heights
    epoch_blocks: int = 200
    accounts: tuple[GenesisAccount, ...] = ()  # more accounts that have money from the beginning
    sprint: SprintRules = NO_SPRINT  # where weights come from; without one every peer keeps the weight it has here
    checks: CheckRules = DEFAULT_CHECKS
    # So many of the last peers are not in the genesis file and may register later. Then every peer's owner has money,
    # to deposit as collateral.
    joiners: int = 0
    each: tuple[PeerPlan, ...] = ()  # the peers one by one, in place of peers, cheats, serving and joiners

    def all(self) -> tuple[PeerPlan, ...]:
        """The peers one by one."""
        return self.each or tuple(
            PeerPlan(
                f"peer{i + 1}", serves=self.serving, registered=i < self.peers - self.joiners,
                cheat=self.cheats.get(i, ""),
            )
            for i in range(self.peers)
        )


def generate(plan: Plan) -> list[Path]:
    """Write all folders. Returns those of the peers in order; the client's is DIR/client.

    Raises ConfigError for rules that do not fit together.
    """
    directory, peers = plan.directory, plan.all()
    folders = [directory / peer.name for peer in peers]
    keys = {folder: Key.generate() for folder in folders}
    owners = {folder: Key.generate() for folder in folders}
    client = Key.generate()
    first = tuple(
        GenesisPeer(
            keys[folder].public, owners[folder].public, peer.weight,
            (peer.models or (DEFAULT_MODEL,)) if peer.serves else (),
        )
        for folder, peer in zip(folders, peers, strict=True) if peer.registered
    )
    accounts = (GenesisAccount(client.public, CLIENT_BALANCE_MICRO), *plan.accounts)
    # planted faults are paid by the planter's owner, collateral by the depositor
    if len(first) < len(peers) or any(name == "plant_interval_ms" for name, _ in plan.settings):
        accounts += tuple(GenesisAccount(owners[f].public, CLIENT_BALANCE_MICRO) for f in folders)
    models = tuple(
        _spec(name, path, plan.context_tokens)
        for name, path in ((DEFAULT_MODEL, plan.model_dir), *plan.more_models.items())
    )
    genesis = Genesis(
        VERSION, plan.network, time.time_ns() // 1_000_000, first, accounts, models,
        validation_window=plan.validation_window, epoch_blocks=plan.epoch_blocks, checks=plan.checks,
        sprint=plan.sprint,
    )
    check_genesis(genesis)
    for folder, peer in zip(folders, peers, strict=True):
        make_folder(folder)
        keys[folder].save(folder / "node.key")
        owners[folder].save(folder / "account.key")
        write_file(folder / "genesis.cbor", encode(genesis), field="dir")
        write_file(folder / "config.toml", dump_toml({**_config(plan), **peer.settings}).encode(), field="dir")
        friends = [keys[other].public.hex() for other, its in zip(folders, peers, strict=True)
                   if its.cheat and other != folder]
        if lab := _lab(plan, peer, friends):
            write_file(folder / LAB_FILE, dump_toml(lab).encode(), field="dir")
    make_folder(directory / "client")
    client.save(directory / "client" / "account.key")
    write_file(directory / "client" / "genesis.cbor", encode(genesis), field="dir")
    names = {keys[f].public.hex(): f.name for f in folders}
    write_file(directory / "names.json", json.dumps(names).encode(), field="dir")
    return folders


def _config(plan: Plan) -> dict[str, Any]:
    """The config.toml of every peer."""
    table: dict[str, Any] = {
        "network": plan.network, "listen": ["/ip4/127.0.0.1/tcp/0"], "expected_size": len(plan.all()),
    }
    table |= {"tokenizer": str(plan.model_dir)} if plan.model_dir else {}
    return table | {name: value for name, value in plan.settings if name not in LAB_SETTINGS}


def _lab(plan: Plan, peer: PeerPlan, friends: list[str]) -> dict[str, Any]:
    """The lab.toml of a peer; empty for an honest one. friends: node keys of the other cheats, hexadecimal."""
    lab: dict[str, Any] = {name: value for name, value in plan.settings if name in LAB_SETTINGS}
    if peer.cheat:
        lab["cheat"] = attacks.get(peer.cheat).name
        lab |= {"honest_ml_node": plan.honest_ml_node} if plan.honest_ml_node else {}
        lab |= {"cheat_friends": friends} if lab["cheat"] == COLLUDING else {}
    return lab


def _spec(name: str, model_dir: Path | None, context: int) -> ModelSpec:
    """What the genesis file says of the model in `model_dir`; None: of the simulated one."""
    if model_dir is None:
        from testnet.simulated_engine import EOS, TEMPLATE, tokenizer_json

        weights, template = bytes(32), sha256(TEMPLATE.encode()).digest()
        tokenizer = sha256(tokenizer_json().encode()).digest()
        files: dict[str, Any] = {"eos_ids": (EOS,), "tokenizer_hash": tokenizer}
    else:
        from p2p.inference.stack.model import weights_hash
        from p2p.text.model_files import describe

        facts = describe(model_dir)
        weights, template = weights_hash(model_dir), facts.text.template_hash
        files = {
            "vocabulary": facts.vocabulary, "tokenizer_hash": facts.text.tokenizer_hash, "eos_ids": facts.eos_ids,
            "template_tokens": facts.template_tokens,
            # a template that shows no tools names no format; calls that are asked for by a grammar need one
            "tool_format": facts.tool_format or ("hermes" if name == DEFAULT_MODEL else ""),
        }
    return ModelSpec(
        name, weights, template, "bfloat16", PRICE_MICRO, 1, context,
        kernel_distance_milli=KERNEL_DISTANCE_MILLI if name == DEFAULT_MODEL else 0, **files,
    )
