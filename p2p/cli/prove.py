"""prove: proves one value of the state, writes the proof to a file, checks such a file without a network.

Law: what a peer answers is checked before it is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, FolkmootError, RemoteProtocolError, Unavailable
from p2p.cli import questions
from p2p.cli.arguments import SECONDS_A_DAY, header_id, number, read_genesis, read_id
from p2p.cli.output import show
from p2p.cli.verify_header import USE, add_options, headers_to, light, trusting_ms

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.chain.proofs.state import StateProof
    from p2p.cli.questions import Ask
    from p2p.consensus.light import Facts

ASK_AGAIN_S = 0.3


def register(commands: Any) -> None:
    prove = commands.add_parser("prove")
    prove.add_argument(
        "kind", nargs="?", metavar="KIND", help="account, inference or participant; may be left out with --check",
    )
    prove.add_argument(
        "id", nargs="?", metavar="ID", help="64 hexadecimal digits: the public key, or the inference's id",
    )
    prove.add_argument("--out", type=Path, metavar="FILE", help="write the proof here, for others to check")
    prove.add_argument(
        "--check", type=Path, metavar="FILE",
        help="check this proof, of KIND and ID where they are given; no peer is asked",
    )
    add_options(prove, "--trusted-header")
    prove.add_argument(
        "--wait", type=number(0, SECONDS_A_DAY), default=60.0, metavar="SECONDS",
        help="how long to wait for the block after the one whose state is proved (default: %(default)g)",
    )
    prove.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.base.files import check_output

    genesis = read_genesis(options.dir, USE)
    if options.check:
        proof = _load(options.check)
        _check(options, genesis, proof)
        if options.kind and (proof.kind, proof.id.hex()) != (options.kind, (options.id or "").lower()):
            raise RemoteProtocolError(f"this proof is about {proof.kind} {proof.id.hex()}", field="id")
    else:
        if options.out:
            check_output(options.out, field="out")
        proof = questions.asking(
            options.dir, options.peer, genesis.network, lambda ask: _make(options, genesis, ask)
        )
        if options.out:
            _save(proof, options.out)
    show(options, _plain(proof), lambda: _readable(proof))
    return 0


def _make(options: argparse.Namespace, genesis: Genesis, ask: Ask) -> StateProof:
    """Ask for the value and its place in the state tree, and for the headers that stand for it; check all of it."""
    from p2p.base.codec import unpack
    from p2p.base.types import VERSION
    from p2p.chain.proofs.state import ArchiveProof, StateProof, key_of
    from p2p.ledger.state.proofs import TreeProof
    from p2p.wire.answers.blocks import Proved
    from p2p.wire.answers.reading import read

    key_of(options.kind or "", b"")  # names a wrong kind before anybody is asked
    id_ = read_id(options.id or "", "id")
    answer = ask({"op": "prove", "kind": options.kind, "id": id_.hex()})
    found = read(Proved, answer, "prove", options.peer or str(options.dir))
    value = None if found.value is None else bytes.fromhex(found.value)
    tree_proof = unpack(TreeProof, bytes.fromhex(found.proof))
    left = None if found.left is None else unpack(ArchiveProof, bytes.fromhex(found.left))
    _await_header(ask, found.height + 1, options.wait)
    way = headers_to(found.height + 1, options, genesis, ask)
    if options.trusted:
        way.insert(0, light(ask, header_id(options.trusted)[0]))
    proof = StateProof(VERSION, options.kind, id_, value, tree_proof, tuple(way), left)
    _check(options, genesis, proof)
    return proof


def _await_header(ask: Ask, height: int, wait_s: float) -> None:
    """Wait until the peer has the header of `height`. Raises Unavailable after `wait_s` seconds."""
    until = time.monotonic() + wait_s
    while True:
        try:
            ask({"op": "light", "height": height})
            return
        except FolkmootError as error:
            if error.code != "not_found":
                raise
            if time.monotonic() > until:
                what = f"block {height}, whose header names this state, did not come in {wait_s:g} s"
                raise Unavailable(f"{what}; try again, with a longer --wait", field="height") from error
            time.sleep(ASK_AGAIN_S)


def _check(options: argparse.Namespace, genesis: Genesis, proof: StateProof) -> None:
    """Raises RemoteProtocolError where the proof does not hold, InvalidRequest where --trusted is malformed."""
    from p2p.chain.proofs.state import check_state_proof

    now_ms = time.time_ns() // 1_000_000
    check_state_proof(proof, _start(options, genesis, proof), genesis.network, now_ms, trusting_ms(options))


def _start(options: argparse.Namespace, genesis: Genesis, proof: StateProof) -> Facts:
    from p2p.chain.proofs.state import named
    from p2p.consensus.light import genesis_facts

    if not options.trusted:
        return genesis_facts(genesis)
    height, block_id = header_id(options.trusted)
    return named(proof, genesis.network, height, bytes.fromhex(block_id))


def _load(file: Path) -> StateProof:
    from p2p.chain.proofs.state import parse_state_proof

    try:
        return parse_state_proof(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="check") from error


def _save(proof: StateProof, file: Path) -> None:
    from p2p.base.codec import encode

    try:
        file.write_bytes(encode(proof))
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", field="out") from error


def _plain(proof: StateProof) -> dict[str, Any]:
    header = proof.way[-1].header
    return {
        "kind": proof.kind, "id": proof.id.hex(), "height": proof.height, "header": header.height,
        "block_id": header.block_id.hex(), "record": _data(proof.record()),
        "left_epoch": proof.left.epoch if proof.left else None, "siblings": len(proof.proof.siblings),
        "headers": len(proof.way),
    }


def _data(value: Any) -> Any:
    """A message as a map by field, bytes as hexadecimal digits."""
    from msgspec.structs import asdict

    from p2p.base.codec import Message

    if isinstance(value, Message):
        return {name: _data(field) for name, field in asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_data(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def _readable(proof: StateProof) -> str:
    found, left = _plain(proof), ""
    what = json.dumps(found["record"], indent=1) if found["record"] is not None else _absent(proof.kind)
    if proof.left:
        left = f"\nended in epoch {proof.left.epoch} and left the state; its root is in that epoch's sums"
    return (
        f"{proof.kind} {proof.id.hex()} {what}{left}\nafter height {proof.height}; {found['siblings']} hashes up to "
        f"the app hash of header {found['header']} {found['block_id']}, which is decided ({found['headers']} header(s) "
        f"checked)"
    )


def _absent(kind: str) -> str:
    """What a proof that nothing is there means."""
    if kind != "inference":
        return "is not in the state"
    return (
        "is not in the state; when it ended long ago, ask the peer that was its agent or executor, which keeps the "
        "record"
    )
