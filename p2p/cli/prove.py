"""prove: one value of the state in a file, and its check without a network. Law: what a peer answers is checked before it is kept."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.cli.verify import MAX_DAYS
from p2p.cli.words import default_dir, number, public_key

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis
    from p2p.chain.proofs.state import StateProof
    from p2p.cli.verify import Ask
    from p2p.consensus.light import Facts

ASK_AGAIN_S = 0.3


def register(commands: Any) -> None:
    prove = commands.add_parser("prove", help="prove what the state says of an account, inference or participant")
    prove.add_argument("kind", nargs="?", metavar="account|inference|participant")
    prove.add_argument("id", nargs="?", metavar="ID", help="64 hexadecimal digits: public key, or inference id")
    prove.add_argument("--out", type=Path, metavar="FILE", help="write the proof, for others to check")
    prove.add_argument("--check", type=Path, metavar="FILE", help="check a proof, of KIND and ID where they are given; no peer is asked")
    prove.add_argument("--dir", type=Path, default=default_dir(), help="where genesis.cbor is, and the peer that is asked")
    prove.add_argument("--peer", metavar="MULTIADDR", help="ask this peer instead of the one that runs in --dir")
    prove.add_argument(
        "--trusted-header", "--trusted", dest="trusted", metavar="HEIGHT:BLOCK_ID",
        help="a header you trust, at which the proof's way begins; the genesis file when left out",
    )
    prove.add_argument("--period-days", type=number(0.001, MAX_DAYS), default=14.0, help="how long a header stays trusted")
    prove.add_argument("--wait", type=number(0, 86_400), default=60.0, metavar="SECONDS", help="for the block after the one whose state is proved")
    prove.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.base.files import check_output
    from p2p.cli.verify import asking, read_genesis

    genesis = read_genesis(options.dir)
    if options.check:
        from p2p.chain.proofs.state import parse_state_proof

        try:
            proof = parse_state_proof(options.check.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read {options.check}: {error.strerror}", field="check") from error
        _check(options, genesis, proof)
        if options.kind and (proof.kind, proof.id.hex()) != (options.kind, (options.id or "").lower()):
            raise RemoteProtocolError(f"this proof is about {proof.kind} {proof.id.hex()}", field="id")
    else:
        if options.out:
            check_output(options.out, field="out")
        proof = asking(options.dir, options.peer, genesis, lambda ask: _make(options, genesis, ask))
        if options.out:
            _save(proof, options.out)
    print(json.dumps(_plain(proof)) if options.json else _readable(proof))
    return 0


def _make(options: argparse.Namespace, genesis: Genesis, ask: Ask) -> StateProof:
    """Ask for the value and its place, wait for the header that stands for it, trust that, check all."""
    from p2p.base.codec import unpack
    from p2p.base.types import VERSION
    from p2p.chain.proofs.state import ArchiveProof, StateProof, key_of
    from p2p.cli.verify import drive, light, trusted_header
    from p2p.ledger.state.proofs import TreeProof
    from p2p.wire.answers.blocks import Proved
    from p2p.wire.answers.reading import read

    key_of(options.kind or "", b"")
    id_ = public_key(options.id or "", "id")
    answer = ask({"op": "prove", "kind": options.kind, "id": id_.hex()})
    found = read(Proved, answer, "prove", options.peer or str(options.dir))
    height = found.height
    value = None if found.value is None else bytes.fromhex(found.value)
    tree_proof = unpack(TreeProof, bytes.fromhex(found.proof))
    left = None if found.left is None else unpack(ArchiveProof, bytes.fromhex(found.left))
    _await_header(ask, height + 1, options.wait)
    way = drive(options, genesis, height + 1, ask)
    if options.trusted:
        way.insert(0, light(ask({"op": "light", "height": trusted_header(options.trusted)[0]})))
    proof = StateProof(VERSION, options.kind, id_, value, tree_proof, tuple(way), left)
    _check(options, genesis, proof)
    return proof


def _await_header(ask: Ask, height: int, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while True:
        try:
            ask({"op": "light", "height": height})
        except FolkmootError as error:
            if error.code != "not_found":
                raise
            if time.monotonic() > until:
                raise Unavailable(f"block {height}, which stands for this state, did not come in {wait_s:g} s", field="height") from error
            time.sleep(ASK_AGAIN_S)
        else:
            return


def _check(options: argparse.Namespace, genesis: Genesis, proof: StateProof) -> None:
    from p2p.chain.proofs.state import check_state_proof

    now_ms = time.time_ns() // 1_000_000
    check_state_proof(proof, _start(options, genesis, proof), genesis.network, now_ms, round(options.period_days * 86_400_000))


def _start(options: argparse.Namespace, genesis: Genesis, proof: StateProof) -> Facts:
    from p2p.chain.proofs.state import named
    from p2p.cli.verify import trusted_header
    from p2p.consensus.light import genesis_facts

    if not options.trusted:
        return genesis_facts(genesis)
    height, block_id = trusted_header(options.trusted)
    try:
        return named(proof, genesis.network, height, bytes.fromhex(block_id))
    except ValueError as error:
        raise InvalidRequest("a block id has 64 hexadecimal digits", field="trusted") from error


def _save(proof: StateProof, file: Path) -> None:
    from p2p.base.codec import encode

    try:
        file.write_bytes(encode(proof))
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", field="out") from error


def _plain(proof: StateProof) -> dict[str, Any]:
    header = proof.way[-1].header
    return {
        "kind": proof.kind, "id": proof.id.hex(), "height": proof.height, "header": header.height, "block_id": header.block_id.hex(),
        "record": _data(proof.record()), "left_epoch": proof.left.epoch if proof.left else None,
        "siblings": len(proof.proof.siblings), "headers": len(proof.way),
    }


def _data(value: Any) -> Any:
    """Messages as maps by field, bytes as hexadecimal digits."""
    from msgspec.structs import asdict

    from p2p.base.codec import Message

    if isinstance(value, Message):
        return {name: _data(field) for name, field in asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_data(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def _readable(proof: StateProof) -> str:
    found = _plain(proof)
    what = json.dumps(found["record"], indent=1) if found["record"] is not None else _absent(proof.kind)
    left = f"\nended in epoch {proof.left.epoch} and left the state; its root is in that epoch's sums" if proof.left else ""
    return (
        f"{proof.kind} {proof.id.hex()} {what}{left}\nafter height {proof.height}; {found['siblings']} hashes up to the app hash of header "
        f"{found['header']} {found['block_id']}, which is decided ({found['headers']} header(s) checked)"
    )


def _absent(kind: str) -> str:
    """What a proof that nothing is there means."""
    if kind != "inference":
        return "is not in the state"
    return "is not in the state; when it ended long ago, ask the peer that was its agent or executor: it keeps the record"
