"""opencode run, one prompt, with the gateway as a provider of its own (@ai-sdk/openai-compatible is inside)."""

from __future__ import annotations

import json
from typing import Any

from cases import BASE, HOME, KEY, MODEL, Unable, case, command, seen

WORK = HOME / "work"
WORK.mkdir()


def config(agent: dict[str, Any]) -> None:
    folder = HOME / ".config" / "opencode"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opencode.json").write_text(json.dumps({
        "$schema": "https://opencode.ai/config.json", "model": f"gateway/{MODEL}", "small_model": f"gateway/{MODEL}",
        "autoupdate": False, "share": "disabled",
        "provider": {"gateway": {
            "npm": "@ai-sdk/openai-compatible", "name": "gateway", "options": {"baseURL": BASE, "apiKey": KEY},
            "models": {MODEL: {"name": MODEL, "limit": {"context": 8192, "output": 64}}},
        }},
        **({"agent": {"brief": agent}} if agent else {}),
    }))


def prompt(*arguments: str) -> str:
    path = "/v1/chat/completions"
    before = len(seen(path))
    said = command(
        ["opencode", "run", "--model", f"gateway/{MODEL}", "--dir", str(WORK), *arguments, "Say hello."], limit_s=180,
        OPENCODE_DISABLE_AUTOUPDATE="1", OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        OPENCODE_DISABLE_DEFAULT_PLUGINS="1", OPENCODE_DISABLE_SHARE="1",
    )
    found = seen(path)[before:]
    assert found, f"nothing was asked: {said[-300:]}"
    largest = max(found, key=lambda one: len(json.dumps(one["body"])))
    size = f"{len(json.dumps(largest['body']))} characters with {len(largest['body'].get('tools') or [])} tools"
    if largest["status"] == 400 and "context" in largest["answer"]:
        raise Unable(f"its request ({size}) is longer than the model's context: {largest['answer'][:250]}")
    assert largest["status"] == 200, largest["answer"][:300]
    return f"{len(found)} requests; {size}"


@case("a prompt, with its own instructions and tools")
def _() -> str:
    config({})
    return prompt()


@case("a prompt, with a short prompt and without tools")
def _() -> str:
    config({"prompt": "You are brief.", "tools": {"*": False}, "mode": "primary"})
    return prompt("--agent", "brief")
