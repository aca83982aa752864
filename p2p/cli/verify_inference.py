"""verify: check one inference with an own copy of the model. Law: every claim is recomputed here; exit 0 only for 'valid', 3 for invalid.

The payload comes from a proof file (`folkmoot ask --save`) or from the own peer's store; a peer's chain, where one is given, confirms
beacon and root; the model runs here (torch or an own vLLM) or on an ML node of one's own.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, InvalidRequest, Unavailable
from p2p.cli.words import default_dir

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis, ModelSpec
    from p2p.client.answer_proof import AnswerProof
    from p2p.client.inspection import Case, TokenRow
    from p2p.inference.local_engine import Opened
    from p2p.verification.check import CheckResult
    from p2p.verification.profile import Profile

DEFAULT_DIR = default_dir()
INVALID = 3


def register(commands: Any) -> None:
    verify = commands.add_parser("verify", help="check one inference with your own copy of the model")
    verify.add_argument("what", metavar="ID|FILE", help="an inference id, or a proof that `ask --save` wrote")
    verify.add_argument("--proof", type=Path, metavar="FILE", help="the proof, where ID is given")
    verify.add_argument("--peer", metavar="MULTIADDR", help="compare with this peer's chain")
    verify.add_argument("--dir", type=Path, help="where genesis.cbor is; the peer that runs there has payload and chain")
    verify.add_argument("--model", type=Path, metavar="PATH", help="the model's folder: it is run here")
    verify.add_argument("--engine", choices=("torch", "vllm"), default="torch", help="what runs --model")
    verify.add_argument("--ml-node", metavar="URL", help="a running ML node of your own instead of --model")
    verify.add_argument("--tokenizer", type=Path, metavar="PATH", help="the model's tokenizer.json, beside an --ml-node")
    verify.add_argument("--stack", default="vllm-cpu-bf16", metavar="NAME", help="stack class of your ML node or vLLM")
    verify.add_argument("--profile", type=Path, metavar="FILE", help="a calibration; the one shipped for the model when left out")
    verify.set_defaults(run=run)


@dataclass(slots=True)
class Result:
    """What was found. problems: of the proof itself; report: stages 0 and 1; rows: one per token, [] where stage 0 refused."""

    inference_id: str
    executor: str
    stack: str
    problems: list[str]
    notes: list[str]
    report: CheckResult | None = None
    rows: list[TokenRow] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        return not self.problems and self.report is not None and self.report.valid


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import run_async

    if (options.model is None) == (options.ml_node is None):
        raise ConfigError("give the model's folder (--model) or an own ML node's URL (--ml-node)", field="model")
    result = run_async(_verify, options)
    print(json.dumps(_plain(result)) if options.json else _readable(result))
    return 0 if result.valid else INVALID


async def _verify(options: argparse.Namespace) -> Result:
    from p2p.client.inspection import proof_problems
    from p2p.inference.local_engine import open_engine

    genesis, notes = _genesis(options), list[str]()
    proof = _proof(options)
    case = _from_proof(proof) if proof else _from_store(options)
    problems = []
    if proof is not None:
        problems = proof_problems(proof, genesis) + await _chain(options, proof, notes)
        if genesis is None:
            notes.append("no genesis file: the model's hashes were not checked")
    header = case.artifact.header
    result = Result(case.finish.inference_id.hex(), case.finish.executor.hex(), header.stack, problems, notes)
    profile = _profile(options, header.model)
    ready = open_engine(
        options.engine, options.model, options.ml_node, header.model, lambda text: None, stack=options.stack, tokenizer=options.tokenizer
    )
    async with ready as opened:
        await _check(case, genesis, opened, profile, result)
    return result


async def _check(case: Case, genesis: Genesis | None, opened: Opened, profile: Profile, result: Result) -> None:
    from p2p.client import inspection
    from p2p.verification import tape
    from p2p.verification.check import FALSE_ALARM_PPM, refused
    from p2p.verification.statistics import ROW_TOP
    from p2p.verification.text import TextStream, Vocabulary, text_hash

    engine, header = opened.engine, case.artifact.header
    noise = profile.noise(header.stack, opened.stack, context=header.context)
    equal = profile.equal(header.stack, opened.stack, context=header.context)
    eos_ids = await opened.eos_ids()
    prompt_tokens = await engine.tokenize_chat(case.prompt)
    seed = tape.tape_seed(case.beacon, header.inference_id, case.request.client_nonce)
    if genesis is not None and all(model.model != case.request.model for model in genesis.models):
        result.notes.append("the genesis file has not this model: its hashes are the answer's own word")
    wrong = inspection.exact_problem(case, _spec(case, genesis, opened), seed, eos_ids, prompt_tokens)
    if opened.vocabulary is None:
        result.notes.append("no tokenizer.json here (--tokenizer): the text signed for was not compared with the tokens")
    elif text_hash(opened.vocabulary.text(case.artifact.tokens)) != case.finish.text_hash:
        result.problems.append("the text signed for is not that of the committed tokens")
    if wrong is not None or not case.artifact.tokens:  # before the prefill: an engine refuses ids that the model has not
        result.report = refused(wrong or "the answer is empty")
        return
    rows = await engine.score(prompt_tokens, case.artifact.tokens, ROW_TOP)
    result.rows = inspection.table(case.artifact, rows)
    stream = TextStream(opened.vocabulary or Vocabulary(()))
    result.texts = [stream.add(token) for token in case.artifact.tokens]
    ppm = genesis.checks.false_alarm_ppm if genesis else FALSE_ALARM_PPM
    result.report = inspection.judged(case, rows, noise, ppm, equal=equal)


# -- where things come from ---------------------------------------------------------------------------------------


def _genesis(options: argparse.Namespace) -> Genesis | None:
    from p2p.base.genesis import load_genesis

    file = (options.dir or DEFAULT_DIR) / "genesis.cbor"
    if not file.exists():
        if options.dir is not None:
            raise ConfigError(f"{file} is missing", field="dir")
        return None
    return load_genesis(file)


def _is_id(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text.lower())


def _proof(options: argparse.Namespace) -> AnswerProof | None:
    from p2p.client.answer_proof import load_proof

    if not _is_id(options.what):
        if options.proof is not None:
            raise ConfigError("ID is 64 hexadecimal digits; a proof is given only once", field="what")
        return load_proof(Path(options.what))
    if options.proof is None:
        return None
    proof = load_proof(options.proof)
    if proof.signed_request.inference_id.hex() != options.what.lower():
        raise InvalidRequest("the proof is about another inference", field="proof")
    return proof


def _from_proof(proof: AnswerProof) -> Case:
    from p2p.client.inspection import Case
    from p2p.verification.artifact import parse

    drawn = proof.accepted.candidates
    return Case(proof.signed_request.request, proof.finish.record, proof.accepted.beacon, proof.prompt, parse(proof.artifact), drawn)


def _from_store(options: argparse.Namespace) -> Case:
    """From the own peer, whose chain has checked the signatures."""
    from p2p.base.codec import unpack
    from p2p.base.types import FinishRecord, Request
    from p2p.client.inspection import Case
    from p2p.peer.control import call
    from p2p.verification.artifact import parse
    from p2p.wire.answers.inferences import PayloadAnswer
    from p2p.wire.answers.reading import read
    from p2p.wire.frames import Payload

    found = call(options.dir or DEFAULT_DIR, {"op": "payload", "id": options.what.lower()})
    kept = read(PayloadAnswer, found, "payload", str(options.dir or DEFAULT_DIR))
    payload = unpack(Payload, bytes.fromhex(kept.payload))
    request, finish = unpack(Request, bytes.fromhex(kept.request)), unpack(FinishRecord, bytes.fromhex(kept.finish))
    drawn = tuple(map(bytes.fromhex, kept.candidates))
    return Case(request, finish, bytes.fromhex(kept.beacon), payload.prompt, parse(payload.artifact), drawn)


async def _chain(options: argparse.Namespace, proof: AnswerProof, notes: list[str]) -> list[str]:
    """Problems, as the chain of the peer given sees them."""
    from p2p.client.inspection import chain_problems
    from p2p.wire.answers.blocks import BlockAnswer
    from p2p.wire.answers.reading import read

    record, height = proof.finish.record, proof.signed_request.request.draw_height
    questions: list[dict[str, Any]] = [{"op": "inference", "id": record.inference_id.hex()}, {"op": "block", "height": height}]
    try:
        found, block = await _ask_chain(options, proof, questions)
    except Unavailable:
        if options.peer:
            raise
        notes.append("no peer asked: root and draw were not compared with a chain")
        return []
    peer = options.peer or str(options.dir or DEFAULT_DIR)
    beacon = bytes.fromhex(read(BlockAnswer, block, "block", peer).beacon) if block is not None else None
    if beacon is None:
        notes.append(f"the peer has no block {height}: the beacon was not compared")
    return chain_problems(record, proof.accepted, found, beacon)


async def _ask_chain(
    options: argparse.Namespace, proof: AnswerProof, questions: list[dict[str, Any]]
) -> list[dict[str, Any] | None]:
    from p2p.base.keys import Key
    from p2p.client.connection import query
    from p2p.gossip.host import NetworkConfig, open_network
    from p2p.peer.control import call

    if not options.peer:
        return [_or_none(call, options.dir or DEFAULT_DIR, question) for question in questions]
    if "/p2p/" not in options.peer:
        raise ConfigError("a multiaddr with /p2p/ID is wanted", field="peer")
    config = NetworkConfig(Key.generate(), proof.signed_request.request.network, (), (), expected_size=1, min_connections=0)
    answers: list[dict[str, Any] | None] = []
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
        await network.connect(options.peer)
        for question in questions:
            try:
                answers.append(await query(network, options.peer.rsplit("/p2p/", 1)[-1], question))
            except InvalidRequest:
                answers.append(None)
    return answers


def _or_none(call: Any, directory: Path, question: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(call(directory, question))
    except InvalidRequest:
        return None


def _spec(case: Case, genesis: Genesis | None, opened: Opened) -> ModelSpec:
    """The network's word on the model where there is one; the folder that runs here must hold those very weights."""
    from p2p.client.inspection import claimed_spec

    spec = next((m for m in genesis.models if m.model == case.request.model), None) if genesis else None
    spec = spec or claimed_spec(case)
    if opened.weights_hash is not None and opened.weights_hash != spec.weights_hash:
        raise ConfigError("this folder holds other weights than the answer is about; nothing could be said", field="model")
    return spec


def _profile(options: argparse.Namespace, model: str) -> Profile:
    from p2p.verification import profile

    found = profile.load(options.profile) if options.profile else profile.shipped(model)
    if found is None:
        raise ConfigError(f"no calibration is shipped for {model[:60]}; make one with: folkmoot calibrate", field="profile")
    return found


# -- what is printed ----------------------------------------------------------------------------------------------


def _plain(result: Result) -> dict[str, Any]:
    report = result.report
    return {
        "inference_id": result.inference_id, "executor": result.executor, "stack": result.stack, "valid": result.valid,
        "problems": result.problems, "notes": result.notes, "report": asdict(report) if report else None,
        "tokens": [{**asdict(row), "text": text} for row, text in zip(result.rows, result.texts, strict=True)],
    }


def _readable(result: Result) -> str:
    lines = [f"inference {result.inference_id}", f"executor  {result.executor}  ({result.stack})", ""]
    if result.rows:
        lines.append(f"{'at':>5}  {'token':<20}{'published':>10}{'own':>10}{'margin':>9}{'distance':>10}")
    for row, text in zip(result.rows, result.texts, strict=True):
        shown = json.dumps(text, ensure_ascii=False)[1:-1][:18]
        lines.append(f"{row.position:>5}  {shown:<20}{row.published:>10.3f}{row.own:>10.3f}{row.margin:>9.3f}{row.distance:>10.3f}")
    lines += ["", *(f"problem   {text}" for text in result.problems), *(f"note      {text}" for text in result.notes)]
    if result.report is not None:
        lines.append(f"checks    {result.report.reason}")
    return "\n".join([*lines, f"verdict   {'valid' if result.valid else 'INVALID'}"])
