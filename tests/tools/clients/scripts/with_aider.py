"""aider, one message without a terminal, in a folder with one file."""

from __future__ import annotations

import json

from cases import BASE, BUSY, HOME, KEY, MODEL, asked, case, command, seen

(HOME / "sum.py").write_text("def add(a, b):\n    return a + b\n")
(HOME / "metadata.json").write_text(json.dumps({f"openai/{MODEL}": {
    "max_input_tokens": 8192, "max_output_tokens": 256, "litellm_provider": "openai", "mode": "chat",
    "input_cost_per_token": 0, "output_cost_per_token": 0,
}}))
(HOME / "settings.yml").write_text(
    f"- name: openai/{MODEL}\n  edit_format: ask\n  use_repo_map: false\n  extra_params:\n    max_tokens: 48\n"
)


def aider(*arguments: str, base: str = BASE) -> str:
    return command([
        "aider", "--model", f"openai/{MODEL}", "--openai-api-base", base, "--openai-api-key", KEY, "--no-git",
        "--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-pretty",
        "--no-detect-urls", "--map-tokens", "0", "--model-metadata-file", str(HOME / "metadata.json"),
        "--model-settings-file", str(HOME / "settings.yml"), "--no-show-release-notes", *arguments,
    ], limit_s=180)


@case("stream: a question")
def _() -> str:
    said = aider("--message", "What does add do?", "sum.py")
    assert "Error" not in said, said[-300:]
    return asked("/v1/chat/completions")


@case("chat: without a stream")
def _() -> str:
    aider("--no-stream", "--message", "What does add do?")
    return asked("/v1/chat/completions")


@case("retry")
def _() -> str:
    aider("--message", "What does add do?", base=BUSY + "/v1")
    assert [one["status"] for one in seen("/v1/chat/completions")][-2:] == [429, 200]
    return ""
