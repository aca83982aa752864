"""A SIMULATED ML node: the HTTP interface of vLLM over a toy language model.

Law: only for test networks and fast tests; it proves nothing about vLLM.

The toy model's logits are a hash of the last three tokens, so prefill and decode agree exactly; the tape is real.

`python -m testnet.simulated_engine --port P [--salt N] [--fail 500|silent] [--delay-s S] [--scale S]`. Another --salt
is another model; a --scale other than 1 stands for a cheaper model: other log-probabilities, the same candidates.
--fail begins when a peer's selftest is over, or after --after answers. --bad names the fault that a peer's selftest
must find. As with vLLM, the variable VLLM_API_KEY sets the key that requests need; --uds listens on a Unix socket.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from p2p.base.types import Params
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.inference.selftest import GENERATIONS
from p2p.inference.vllm import tape_args
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification import tape
from p2p.verification.marks import MARKS, marks
from p2p.verification.sampling import Sampling

VOCAB = 512
TEMPLATE = "<1>{% for message in messages %}{{ message.content }}{% endfor %}"  # its chat template
EOS = 2
BYTE_BASE = 16
IDS = np.arange(VOCAB, dtype=np.int64)
BAD = (
    "no-tape", "no-logprobs", "few-logprobs", "other-logprobs", "wrong-eos", "after-eos", "beyond", "other-text",
    "no-text", "other-model", "short-context", "empty", "too-many", "garbage",
)


class Toy:
    def __init__(self, salt: int, scale: float = 1.0) -> None:
        self.salt, self.scale = salt, scale

    def logprobs(self, context: list[int]) -> np.ndarray:
        """Natural log-probabilities, shape (VOCAB,), of the token after `context`; lower-case letters are likeliest."""
        state = self.salt * 1_000_003
        for token in context[-3:]:
            state = (state * 6364136223846793005 + token + 1442695040888963407) % 2**63
        logits = np.random.default_rng(state).normal(0.0, 2.0, VOCAB)
        logits[BYTE_BASE + 97 : BYTE_BASE + 123] += 3.0
        logits[EOS] += 0.5 if len(context) > 60 else -20.0
        logits *= self.scale
        found: np.ndarray = logits - np.log(np.exp(logits).sum())
        return found


def text_of(token: int) -> str:
    return chr(token - BYTE_BASE) if BYTE_BASE + 32 <= token < BYTE_BASE + 127 else ""


def tokenizer_json() -> str:
    """The toy's vocabulary as a tokenizer.json: one token for each printable byte; all other tokens are special."""
    words = {
        chr(token - BYTE_BASE) if text_of(token).strip() else "\u0120" if text_of(token) else f"<{token}>": token
        for token in range(VOCAB)
    }
    special = [{"id": token, "content": f"<{token}>", "special": True} for token in range(VOCAB) if not text_of(token)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return json.dumps({
        "version": "1.0", "model": {"type": "BPE", "vocab": words, "merges": []},
        "pre_tokenizer": byte_level, "decoder": byte_level, "added_tokens": [one | flags for one in special],
    })


def sampling_of(args: tape_args.TapeArgs, ends: frozenset[int]) -> Sampling:
    """As vLLM's plugin samples a request."""
    grammar = None
    if args.grammar is not None:
        tokens = GrammarTokenizer.from_json(tokenizer_json().encode(), ends, VOCAB)
        grammar = compile_grammar(args.grammar, tokens, tried=True).begin
    return Sampling(args.params, ends, {token: milli / 1000.0 for token, milli in args.bias}, grammar)


class Handler(BaseHTTPRequestHandler):
    toy: Toy
    fail: str
    delay_s: float
    context: int = 2048
    bad: str = ""
    after: int = 0
    answers: int = 0
    running: ClassVar[set[int]] = set()  # threads that make an answer
    made: ClassVar[dict[int, int]] = {}  # thread -> tokens of answers
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        if self.locked():
            return
        if self.path == "/metrics":
            self.reply_raw(
                f"vllm:num_requests_running{{}} {len(self.running)}.0\n"
                f"vllm:generation_tokens_total{{}} {sum(self.made.values())}.0\n".encode(), 200, "text/plain"
            )
            return
        model = {
            "id": "other" if self.bad == "other-model" else DEFAULT_MODEL,
            "max_model_len": 512 if self.bad == "short-context" else self.context,
        }
        self.reply({"data": [model]} if self.path.startswith("/v1/models") else {})

    def locked(self) -> bool:
        """Refuse a request without the key. As in vLLM, only paths below /v1 need it."""
        key = os.environ.get("VLLM_API_KEY")
        if not key or not self.path.startswith("/v1") or self.headers.get("authorization") == f"Bearer {key}":
            return False
        self.reply({"error": "Unauthorized"}, 401)
        return True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.locked():
            return
        scores = body.get("prompt_logprobs") is not None
        # the last request of a peer's selftest is a score
        failing = self.fail if self.answers >= self.after + scores else ""
        if self.path == "/tokenize":
            text = body.get("prompt") or body["messages"][-1]["content"]
            tokens = [1] + [BYTE_BASE + b for b in text.encode()]
            self.reply({"tokens": tokens, "count": len(tokens), "max_model_len": self.context})
        elif self.path == "/detokenize":
            text = "".join(map(text_of, body["tokens"])) + "~" * (self.bad == "other-text")
            self.reply({"prompt": text} if self.bad != "no-text" else {"text": 1})
        elif failing == "500":
            type(self).answers += 1
            self.reply({"error": "broken"}, 500)
        elif body.get("prompt_logprobs") is not None:
            self.score(body)
        else:
            thread = threading.get_ident()
            self.running.add(thread)
            try:
                self.generate(body)
            except OSError:  # whoever asked left, which vLLM notices as well
                self.close_connection = True
            finally:
                self.running.discard(thread)

    def reply(self, value: Any, status: int = 200) -> None:
        self.reply_raw(msgspec.json.encode(value), status, "application/json")

    def reply_raw(self, raw: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def score(self, body: dict[str, Any]) -> None:
        prompt = body["prompt"]
        first = tape_args.score_from(body.get("vllm_xargs"))
        args = tape_args.unpack(body.get("vllm_xargs"))
        state = None
        if args is not None:  # replayed, as p2p/inference/vllm/scores.py does
            sampling = sampling_of(args, frozenset(args.ends) or frozenset({EOS}))
            state = sampling.begin(prompt[len(prompt) - args.position : first])
        rows: list[dict[int, Any] | None] = [None]
        for at in range(max(first, 1), len(prompt)):
            row = self.toy.logprobs(prompt[:at])
            best = np.argsort(-row)[: body["prompt_logprobs"]].tolist()
            if args is not None and state is not None:
                best[-MARKS:] = marks(row, state, args.seed)
                state.accept(prompt[at])
            ranks = {prompt[at]: 1} | {token: rank for rank, token in enumerate(best, 1)}
            rows.append({
                t: {"logprob": float(row[t]), "rank": rank, "decoded_token": text_of(t)} for t, rank in ranks.items()
            })
        choice = {"index": 0, "text": "", "prompt_logprobs": rows, "finish_reason": "length", "token_ids": [0]}
        self.reply({"choices": [choice]})

    def generate(self, body: dict[str, Any]) -> None:
        if self.fail == "silent" and self.answers >= self.after:
            time.sleep(600)
        type(self).answers += 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        tokens = list(body["prompt"])
        args = tape_args.unpack(body.get("vllm_xargs")) or tape_args.TapeArgs(bytes(32), Params(0), 0)
        first, ends = len(tokens) - args.position, frozenset(args.ends) or frozenset({EOS})
        state = sampling_of(args, ends).begin(tokens[first:])
        for step in range(0 if self.bad == "empty" else body["max_tokens"] + 3 * (self.bad == "too-many")):
            row = self.toy.logprobs(tokens)
            noise = tape.gumbel_row(args.seed if self.bad != "no-tape" else os.urandom(32), args.position + step, VOCAB)
            token = int(np.argmax(state.scores(row, IDS, noise)))
            state.accept(token)
            if self.bad == "after-eos" and step == 3:
                token = EOS
            if self.bad == "beyond" and step == 3:
                token = VOCAB + 7
                row = np.append(row, [-9.0] * 8)
            tokens.append(token)
            self.made[threading.get_ident()] = self.made.get(threading.get_ident(), 0) + 1
            best = {f"token_id:{t}": float(row[t]) for t in [*np.argsort(-row)[:8].tolist(), token]}
            ended = (token in ends and self.bad != "after-eos") or (self.bad == "wrong-eos" and step == 5)
            full = step + 1 == body["max_tokens"] and self.bad != "too-many"
            reason = "stop" if ended else "length" if full else None
            if self.bad == "few-logprobs":
                best = dict(list(best.items())[:2])
            if self.bad == "other-logprobs":
                row = row - 2.0
            logprobs: dict[str, Any] | None = {
                "tokens": [f"token_id:{token}"], "token_logprobs": [float(row[token])], "top_logprobs": [best],
            }
            if self.bad == "no-logprobs":
                logprobs = None
            choice = {
                "index": 0, "text": text_of(token), "token_ids": [token], "logprobs": logprobs, "finish_reason": reason,
            }
            time.sleep(self.delay_s if self.answers > self.after else 0)
            body_bytes = msgspec.json.encode({"choices": [choice]}) if self.bad != "garbage" else b"[[["
            self.wfile.write(b"data: " + body_bytes + b"\n\n")
            self.wfile.flush()
            if reason:
                break
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


class Server(ThreadingHTTPServer):
    request_queue_size = 256  # connections that wait; with the library's five a busy network is refused


class UnixServer(Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        Path(str(self.server_address)).unlink(missing_ok=True)  # of one that was killed
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.socket.accept()[0], ("local", 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uds", default="")
    parser.add_argument("--salt", type=int, default=1)
    parser.add_argument("--fail", default="")
    parser.add_argument("--after", type=int, default=GENERATIONS)
    parser.add_argument("--bad", choices=("", *BAD), default="")
    parser.add_argument("--dies", default="", metavar="FILE", help="exit while loading as long as FILE exists")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--context", type=int, default=Handler.context, help="tokens")
    options = parser.parse_args()
    if options.dies and Path(options.dies).exists():
        sys.exit("out of memory: the fake cannot load its model")
    Handler.toy, Handler.fail, Handler.delay_s = Toy(options.salt, options.scale), options.fail, options.delay_s
    Handler.bad, Handler.after, Handler.context = options.bad, options.after, options.context
    if options.uds:
        server: Server = UnixServer(options.uds, Handler)
    else:
        server = Server(("127.0.0.1", options.port), Handler)
        print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
