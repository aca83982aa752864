"""A FAKE ML node: vLLM's HTTP shapes over a toy language model. Law: for fast tests of the network only; proves nothing about vLLM.

The toy model's logits are a hash of the last three tokens, so prefill and decode agree exactly; the tape is the real one.
`python -m tests.fake_vllm --port P [--salt N] [--fail 500|silent] [--delay-s S] [--scale S]`; another salt is another model,
a scale of its logits other than 1 a cheaper one, whose candidates are the same.
"""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from p2p.inference import tape_args
from p2p.types import Params
from p2p.verification import tape

VOCAB = 512
EOS = 2
BYTE_BASE = 16


class Toy:
    def __init__(self, salt: int, scale: float = 1.0) -> None:
        self.salt, self.scale = salt, scale

    def logprobs(self, context: list[int]) -> np.ndarray:
        """Row of log-probabilities after `context`; words ('answer letters') are likelier than the rest."""
        state = self.salt * 1_000_003
        for token in context[-3:]:
            state = (state * 6364136223846793005 + token + 1442695040888963407) % 2**63
        logits = np.random.default_rng(state).normal(0.0, 2.0, VOCAB)
        logits[BYTE_BASE + 97 : BYTE_BASE + 123] += 3.0
        logits[EOS] += 0.5 if len(context) > 60 else -20.0
        logits *= self.scale
        return logits - np.log(np.exp(logits).sum())


def text_of(token: int) -> str:
    return chr(token - BYTE_BASE) if BYTE_BASE + 32 <= token < BYTE_BASE + 127 else ""


def tokenizer_json() -> str:
    """The toy's vocabulary as a tokenizer.json: `text_of` as one token a byte; all others are special."""
    words = {chr(token - BYTE_BASE) if text_of(token).strip() else "\u0120" if text_of(token) else f"<{token}>": token for token in range(VOCAB)}
    special = [{"id": token, "content": f"<{token}>", "special": True} for token in range(VOCAB) if not text_of(token)]
    return json.dumps({"model": {"type": "BPE", "vocab": words}, "decoder": {"type": "ByteLevel"}, "added_tokens": special})


class Handler(BaseHTTPRequestHandler):
    toy: Toy
    fail: str
    delay_s: float
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "toy", "max_model_len": 2048}]} if self.path.startswith("/v1/models") else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            text = body.get("prompt") or body["messages"][-1]["content"]
            tokens = [1] + [BYTE_BASE + b for b in text.encode()]
            self.reply({"tokens": tokens, "count": len(tokens), "max_model_len": 2048})
        elif self.path == "/detokenize":
            self.reply({"prompt": "".join(map(text_of, body["tokens"]))})
        elif self.fail == "500":
            self.reply({"error": "broken"}, 500)
        elif body.get("prompt_logprobs") is not None:
            self.score(body)
        else:
            self.generate(body)

    def reply(self, value: Any, status: int = 200) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def score(self, body: dict[str, Any]) -> None:
        prompt, rows = body["prompt"], [None]
        for at in range(1, len(prompt)):
            row = self.toy.logprobs(prompt[:at])
            best = np.argsort(-row)[: body["prompt_logprobs"]]
            wanted = [*best.tolist(), prompt[at]]
            rows.append({str(t): {"logprob": float(row[t]), "rank": 1, "decoded_token": text_of(t)} for t in wanted})
        choice = {"index": 0, "text": "", "prompt_logprobs": rows, "finish_reason": "length", "token_ids": [0]}
        self.reply({"choices": [choice], "prompt_logprobs": rows})

    def generate(self, body: dict[str, Any]) -> None:
        if self.fail == "silent":
            time.sleep(600)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        tokens = list(body["prompt"])
        args = tape_args.unpack(body.get("vllm_xargs")) or tape_args.TapeArgs(bytes(32), Params(0), 0)
        first = len(tokens) - args.position  # where the output begins
        for step in range(body["max_tokens"]):
            row = self.toy.logprobs(tokens)
            noise = tape.gumbel_row(args.seed, args.position + step, VOCAB)
            counts = tape.output_counts(tokens[first:], range(VOCAB))
            token = int(np.argmax(tape.scores(row, args.params, noise, counts)))
            tokens.append(token)
            best = {f"token_id:{t}": float(row[t]) for t in [*np.argsort(-row)[:8].tolist(), token]}
            reason = "stop" if token == EOS else "length" if step + 1 == body["max_tokens"] else None
            logprobs = {"tokens": [f"token_id:{token}"], "token_logprobs": [float(row[token])], "top_logprobs": [best]}
            choice = {"index": 0, "text": text_of(token), "token_ids": [token], "logprobs": logprobs, "finish_reason": reason}
            time.sleep(self.delay_s)
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            self.wfile.flush()
            if reason:
                break
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--salt", type=int, default=1)
    parser.add_argument("--fail", default="")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    options = parser.parse_args()
    Handler.toy, Handler.fail, Handler.delay_s = Toy(options.salt, options.scale), options.fail, options.delay_s
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
