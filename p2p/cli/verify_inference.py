"""verify: checks one inference with the user's own copy of the model.

Law: every claim is computed again here. Exit status 0 only for 'valid', 3 for invalid.

The payload comes from a proof file (`folkmoot ask --save`) or from the store of the user's own peer. A peer's chain,
where one can be asked, confirms beacon and root. The model runs here (torch or vLLM) or on the user's own ML node.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, InvalidRequest, Unavailable
from p2p.cli import questions
from p2p.cli.arguments import default_dir, is_id, read_genesis
from p2p.cli.exit_codes import UNCHECKED
from p2p.cli.output import show

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis, ModelSpec
    from p2p.cli.questions import Ask
    from p2p.client.answer_proof import AnswerProof
    from p2p.client.inspection import Case, TokenRow
    from p2p.inference.local_engine import LoadedEngine
    from p2p.verification.check import CheckResult
    from p2p.verification.profile import Profile

DEFAULT_DIR = default_dir()
INVALID = UNCHECKED  # exit status


def register(commands: Any) -> None:
    verify = commands.add_parser("verify")
    verify.add_argument(
        "what", metavar="ID|FILE", help="an inference's id (64 hexadecimal digits), or a proof that `ask --save` wrote",
    )
    verify.add_argument("--proof", type=Path, metavar="FILE", help="the proof, where an ID is given")
    verify.add_argument("--peer", metavar="MULTIADDR", help="compare the proof with this peer's chain")
    verify.add_argument(
        "--dir", type=Path,
        help=f"the folder with genesis.cbor; the peer that runs there has payload and chain (default: {DEFAULT_DIR})",
    )
    verify.add_argument("--model", type=Path, metavar="PATH", help="the model's folder: it is run here")
    verify.add_argument(
        "--engine", choices=("torch", "vllm"), default="torch", help="what runs --model (default: %(default)s)",
    )
    verify.add_argument("--ml-node", metavar="URL", help="a running ML node of your own, instead of --model")
    verify.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="the model's tokenizer.json, for --ml-node",
    )
    verify.add_argument(
        "--stack", default="vllm-cpu-bf16", metavar="NAME",
        help="stack class of your ML node or vLLM (default: %(default)s)",
    )
    verify.add_argument(
        "--profile", type=Path, metavar="FILE", help="a calibration (default: the one shipped for the model)",
    )
    verify.set_defaults(run=run)


@dataclass(slots=True)
class Result:
    """What was found."""

    inference_id: str
    executor: str  # its node key, hexadecimal
    stack: str  # that the executor claims
    problems: list[str]  # of the proof itself
    notes: list[str]  # what could not be checked, and why
    report: CheckResult | None = None  # of stages 0 and 1
    rows: list[TokenRow] = field(default_factory=list)  # one for each token; none where stage 0 refused
    texts: list[str] = field(default_factory=list)  # of the tokens

    @property
    def valid(self) -> bool:
        return not self.problems and self.report is not None and self.report.valid


def run(options: argparse.Namespace) -> int:
    from p2p.cli.tasks import run_async

    if (options.model is None) == (options.ml_node is None):
        raise ConfigError("give either the model's folder (--model) or your ML node's URL (--ml-node)", field="model")
    genesis, case, result = _gather(options)
    run_async(_run_model, options, genesis, case, result)
    show(options, _plain(result), lambda: _readable(result))
    return 0 if result.valid else INVALID


def _gather(options: argparse.Namespace) -> tuple[Genesis | None, Case, Result]:
    """All that is known of the inference without running the model, with the problems that show already."""
    from p2p.client.inspection import proof_problems

    genesis, notes, problems = _genesis(options), list[str](), list[str]()
    proof = _proof(options)
    case = _from_proof(proof) if proof else _from_store(options)
    if proof is not None:
        problems = proof_problems(proof, genesis) + _compared_with_chain(options, proof, genesis, notes)
        if genesis is None:
            notes.append("no genesis file: the model's hashes were not checked")
    finish = case.finish
    stack = case.artifact.header.stack
    return genesis, case, Result(finish.inference_id.hex(), finish.executor.hex(), stack, problems, notes)


async def _run_model(options: argparse.Namespace, genesis: Genesis | None, case: Case, result: Result) -> None:
    """Open the engine and check with it."""
    from p2p.inference.local_engine import open_engine

    model = case.artifact.header.model
    profile = _profile(options, model)
    ready = open_engine(
        options.engine, options.model, options.ml_node, model, lambda text: None, stack=options.stack,
        tokenizer=options.tokenizer, tool_format=_tool_format(genesis, model),
    )
    async with ready as opened:
        await _check(case, genesis, opened, profile, result)


async def _check(case: Case, genesis: Genesis | None, opened: LoadedEngine, profile: Profile, result: Result) -> None:
    """Stages 0 and 1 with the user's engine; what comes of it is put into `result`."""
    from p2p.client import inspection
    from p2p.grammar.request_sampling import request_sampling
    from p2p.text.stop import wrong_end
    from p2p.text.vocabulary import TextStream, text_hash
    from p2p.verification import tape
    from p2p.verification.check import FALSE_ALARM_PPM, refused
    from p2p.verification.marks import rows_of
    from p2p.verification.statistics import ROW_TOP

    engine, header = opened.engine, case.artifact.header
    noise = profile.noise(header.stack, opened.stack, context=header.context)
    equal = profile.equal(header.stack, opened.stack, context=header.context)
    text = opened.text
    if text is None:
        raise ConfigError(
            "no tokenizer.json here: give --tokenizer with the folder of the model's files", field="tokenizer"
        )
    spec = _spec(case, genesis, opened)
    body, ends = case.body, spec.ends(opened.ends)
    sampling = request_sampling(case.request.params, body, ends, text.tokenizer, spec.vocabulary, patient=True)
    prompt_tokens = (*text.prompt(body), *body.begun_tokens)
    seed = tape.tape_seed(case.beacon, header.inference_id, case.request.client_nonce, case.request.params.seed)
    if genesis is not None and all(model.model != case.request.model for model in genesis.models):
        result.notes.append("the genesis file does not have this model: its hashes are the answer's own word")
    wrong = inspection.exact_problem(case, spec, seed, ends, prompt_tokens, sampling=sampling)
    tokens = case.artifact.tokens
    if text_hash(text.vocabulary.text(tokens, body.begun_tokens)) != case.finish.text_hash:
        result.problems.append("the text signed for is not that of the committed tokens")
    stopped = wrong_end(
        text.vocabulary, body.begun_tokens, tokens, body.stop, case.finish.finish_reason, ends=sampling.ends
    )
    result.problems += [stopped] if stopped is not None else []
    # before the prefill, because an engine refuses ids that the model does not have
    if wrong is not None or not case.artifact.tokens:
        result.report = refused(wrong or "the answer is empty")
        return
    rows = await rows_of(engine, prompt_tokens, case.artifact, body, sampling, ROW_TOP)
    result.rows = inspection.table(case.artifact, rows, sampling=sampling)
    stream = TextStream(text.vocabulary, body.begun_tokens)
    result.texts = [stream.add(token) for token in case.artifact.tokens]
    ppm = genesis.checks.false_alarm_ppm if genesis else FALSE_ALARM_PPM
    result.report = inspection.judged(case, rows, noise, ppm, equal=equal, sampling=sampling)


# -- where things come from ---------------------------------------------------------------------------------------


def _genesis(options: argparse.Namespace) -> Genesis | None:
    """The genesis file; None where no --dir is given and the default folder has none."""
    if options.dir is None and not (DEFAULT_DIR / "genesis.cbor").exists():
        return None
    return read_genesis(options.dir or DEFAULT_DIR, "to check the model's hashes")


def _proof(options: argparse.Namespace) -> AnswerProof | None:
    """The proof that is given; None where only an ID is. Raises ConfigError, InvalidRequest."""
    from p2p.client.answer_proof import load_proof

    if not is_id(options.what):
        if options.proof is not None:
            raise ConfigError("give an ID of 64 hexadecimal digits with --proof, or the proof alone", field="what")
        return load_proof(Path(options.what))
    if options.proof is None:
        return None
    proof = load_proof(options.proof)
    if proof.signed_request.inference_id.hex() != options.what.lower():
        raise InvalidRequest("this proof is about another inference; leave the ID out to check it", field="proof")
    return proof


def _from_proof(proof: AnswerProof) -> Case:
    """A body that is not the signed one is no refusal here: `proof_problems` reports it, with all else that is wrong.
    Raises InvalidRequest where the body cannot be read."""
    from p2p.base.body import body_hash, open_body
    from p2p.client.inspection import Case
    from p2p.verification.artifact import parse

    request, accepted = proof.signed_request.request, proof.accepted
    return Case(
        request, proof.finish.record, accepted.beacon, open_body(proof.body, body_hash(proof.body)),
        parse(proof.artifact), accepted.candidates,
    )


def _from_store(options: argparse.Namespace) -> Case:
    """From the user's own peer, whose chain has checked the signatures."""
    from p2p.base.body import open_body
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
    body = open_body(payload.body, request.body_hash)
    return Case(request, finish, bytes.fromhex(kept.beacon), body, parse(payload.artifact), drawn)


def _compared_with_chain(
    options: argparse.Namespace, proof: AnswerProof, genesis: Genesis | None, notes: list[str]
) -> list[str]:
    """Problems of the proof, as the chain of --peer, or of the peer in --dir, shows them. A request drawn before the
    first block has the beacon of the genesis file: its hash."""
    from p2p.client.inspection import chain_problems
    from p2p.wire.answers.blocks import BlockAnswer
    from p2p.wire.answers.reading import read

    record, request = proof.finish.record, proof.signed_request.request
    wanted: tuple[dict[str, Any], ...] = (
        {"op": "inference", "id": record.inference_id.hex()}, {"op": "block", "height": request.draw_height},
    )
    try:
        found, block = questions.asking(
            options.dir or DEFAULT_DIR, options.peer, request.network,
            lambda ask: [_or_none(ask, one) for one in wanted]
        )
    except Unavailable:
        if options.peer:
            raise
        notes.append("no peer was asked (give --peer): root and draw were not compared with a chain")
        return []
    peer = options.peer or str(options.dir or DEFAULT_DIR)
    beacon = bytes.fromhex(read(BlockAnswer, block, "block", peer).beacon) if block is not None else None
    if genesis is not None and request.draw_height == 0:
        beacon = genesis.hash
    if beacon is None:
        notes.append(f"the peer has no block {request.draw_height}: the beacon was not compared")
    return chain_problems(record, proof.accepted, found, beacon)


def _or_none(ask: Ask, question: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(ask(question))
    except InvalidRequest:
        return None


def _tool_format(genesis: Genesis | None, model: str) -> str:
    """How the model writes calls of tools, by the genesis file: it decides what is text."""
    return next((spec.tool_format for spec in genesis.models if spec.model == model), "") if genesis else ""


def _spec(case: Case, genesis: Genesis | None, opened: LoadedEngine) -> ModelSpec:
    """The model as the genesis file has it, else as the answer claims it. ConfigError where other weights run here."""
    from p2p.client.inspection import claimed_spec

    spec = next((m for m in genesis.models if m.model == case.request.model), None) if genesis else None
    spec = spec or claimed_spec(case)
    if opened.weights_hash is not None and opened.weights_hash != spec.weights_hash:
        raise ConfigError(
            "this folder holds other weights than the answer is about; give the right ones", field="model",
        )
    return spec


def _profile(options: argparse.Namespace, model: str) -> Profile:
    from p2p.verification import profile

    found = profile.load(options.profile) if options.profile else profile.shipped(model)
    if found is None:
        what = f"no calibration is shipped for {model[:60]}"
        raise ConfigError(f"{what}; make one with `folkmoot calibrate` and give it", field="profile")
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
        numbers = f"{row.published:>10.3f}{row.own:>10.3f}{row.margin:>9.3f}{row.distance:>10.3f}"
        lines.append(f"{row.position:>5}  {shown:<20}{numbers}")
    lines += ["", *(f"problem   {text}" for text in result.problems), *(f"note      {text}" for text in result.notes)]
    if result.report is not None:
        lines.append(f"checks    {result.report.reason}")
    return "\n".join([*lines, f"verdict   {'valid' if result.valid else 'INVALID'}"])
