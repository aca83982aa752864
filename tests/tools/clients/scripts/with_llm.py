"""llm, the command line tool, with a model of its file extra-openai-models.yaml."""

from __future__ import annotations

import json

from cases import BASE, HOME, KEY, MODEL, asked, case, command, raises

FOLDER = HOME / "llm"
FOLDER.mkdir()
(FOLDER / "extra-openai-models.yaml").write_text(
    f"- model_id: ours\n  model_name: {MODEL}\n  api_base: {BASE}\n  api_key_name: ours\n  supports_schema: true\n"
    f"  supports_tools: true\n- model_id: ours-text\n  model_name: {MODEL}\n  api_base: {BASE}\n  api_key_name: ours\n"
    f"  completion: true\n- model_id: none\n  model_name: no-such-model\n  api_base: {BASE}\n  api_key_name: ours\n"
)
(FOLDER / "keys.json").write_text(json.dumps({"ours": KEY}))


def llm(*arguments: str, limit_s: float = 120.0) -> str:
    return command(["llm", *arguments], limit_s=limit_s, LLM_USER_PATH=str(FOLDER))


@case("chat")
def _() -> str:
    assert llm("-m", "ours", "--no-stream", "-o", "max_tokens", "12", "-s", "You are brief.", "Say hello.").strip()
    return asked("/v1/chat/completions")


@case("stream")
def _() -> str:
    options = ["-o", "max_tokens", "12", "-o", "temperature", "0.5", "-o", "seed", "1"]
    said = llm("-m", "ours", *options, "-u", "Say hello.")
    assert "Token usage" in said, said
    return said.strip().splitlines()[-1]


@case("chat: the conversation goes on")
def _() -> str:
    assert llm("-c", "-o", "max_tokens", "12", "And again.").strip()
    return ""


@case("schema")
def _() -> str:
    options = ["-o", "max_tokens", "64", "-o", "temperature", "0"]
    said = llm("-m", "ours", "--schema", "happy bool", *options, "Are you happy?")
    assert isinstance(json.loads(said)["happy"], bool), said
    return said


@case("tools")
def _() -> str:
    said = llm("-m", "ours", "-T", "llm_version", "--td", "-o", "max_tokens", "16", "Which version is this?")
    return said.strip()[:60]


@case("completions")
def _() -> str:
    assert llm("-m", "ours-text", "-o", "max_tokens", "8", "The sea is").strip()
    return asked("/v1/completions")


@case("errors")
def _() -> str:
    said = str(raises(AssertionError, lambda: llm("-m", "none", "Say hello.")))
    assert "no-such-model" in said
    assert "Traceback" not in said
    return said[-200:]
