"""vllm bench serve: four requests of random tokens over each API."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cases import HOME, KEY, MODEL, MODEL_FOLDER, URL, Unable, asked, case, command

ENTRY = str(Path(__file__).with_name("vllm_bench_entry.py"))


def benchmark(backend: str, path: str) -> str:
    if not MODEL_FOLDER:
        raise Unable("it needs the tokenizer's folder: --model-folder")
    out = HOME / f"{backend}.json"
    command([
        sys.executable, ENTRY, "--backend", backend, "--base-url", URL, "--endpoint", path, "--model", MODEL,
        "--tokenizer", MODEL_FOLDER, "--dataset-name", "random", "--random-input-len", "24", "--random-output-len", "8",
        "--num-prompts", "4", "--max-concurrency", "2", "--save-result", "--result-dir", str(HOME),
        "--result-filename", out.name, "--disable-tqdm",
    ], OPENAI_API_KEY=KEY)
    said = json.loads(out.read_text())
    assert said["completed"] == 4, said.get("errors")
    return f"{asked(path)}; {said['total_output_tokens']} tokens"


for words, backend, path in (
    ("chat", "openai-chat", "/v1/chat/completions"), ("completions", "openai", "/v1/completions"),
):
    case(words)(lambda backend=backend, path=path: benchmark(backend, path))
