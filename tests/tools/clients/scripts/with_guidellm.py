"""guidellm: three requests of a benchmark over each API."""

from __future__ import annotations

import json

from cases import HOME, KEY, MODEL, MODEL_FOLDER, URL, Unable, asked, case, command


def benchmark(path: str) -> str:
    if not MODEL_FOLDER:
        raise Unable("it needs the tokenizer's folder: --model-folder")
    out = HOME / "report.json"
    backend = {"kind": "openai_http", "target": URL, "model": MODEL, "api_key": KEY, "request_format": path}
    tokenizer = {"kind": "hf_auto", "model": MODEL_FOLDER}
    data = {"kind": "synthetic_text", "prompt_tokens": 24, "output_tokens": 12}
    command([
        "guidellm", "run", "--backend", json.dumps(backend), "--profile", json.dumps({"kind": "synchronous"}),
        "--constraint", json.dumps({"kind": "max_requests", "count": 3}), "--tokenizer", json.dumps(tokenizer),
        "--data", json.dumps(data), "--output", json.dumps({"kind": "json", "path": str(out)}),
        "--disable-console-interactive",
    ])
    said = json.loads(out.read_text())["benchmarks"][0]["metrics"]["request_totals"]
    # it leaves the last request out of its count where the machine is busy, so three are counted by the recorder
    assert said["successful"] >= 2, said
    assert not said["errored"], said
    return asked(path)


for words, path in (
    ("chat", "/v1/chat/completions"), ("completions", "/v1/completions"), ("responses", "/v1/responses"),
):
    case(words)(lambda path=path: benchmark(path))
