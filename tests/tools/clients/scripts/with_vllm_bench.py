"""vllm bench serve: four requests of random tokens over each API.

Its command is entered at the function behind `vllm bench serve`: the command itself asks for the version of a
distribution called vllm, and the one for CPUs has another name.
"""

from __future__ import annotations

import json
import sys

from cases import HOME, KEY, MODEL, MODEL_FOLDER, URL, Unable, asked, case, command

ENTER = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def benchmark(backend: str, path: str) -> str:
    if not MODEL_FOLDER:
        raise Unable("it needs the tokenizer's folder: --model-folder")
    out = HOME / f"{backend}.json"
    command([
        sys.executable, "-c", ENTER, "--backend", backend, "--base-url", URL, "--endpoint", path, "--model", MODEL,
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
