"""claude -p, one prompt, with ANTHROPIC_BASE_URL at the gateway."""

from __future__ import annotations

import json
from typing import Any

from cases import HOME, KEY, MODEL, URL, Unable, case, command, raises, seen

WORK = HOME / "work"
WORK.mkdir()


def claude(*arguments: str) -> dict[str, Any]:
    """What it prints as its result."""
    said = command(
        ["claude", "-p", "Say hello.", "--output-format", "json", "--no-session-persistence", "--model", MODEL,
         *arguments],
        limit_s=180, ANTHROPIC_BASE_URL=URL, ANTHROPIC_AUTH_TOKEN=KEY, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        ANTHROPIC_SMALL_FAST_MODEL=MODEL, ANTHROPIC_DEFAULT_HAIKU_MODEL=MODEL, DISABLE_TELEMETRY="1",
        CLAUDE_CODE_MAX_OUTPUT_TOKENS="256", MAX_THINKING_TOKENS="0", CLAUDE_CODE_MAX_RETRIES="1",
        DISABLE_AUTOUPDATER="1",
    )
    found: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return found


def large(found: list[dict[str, Any]]) -> str:
    body = found[-1]["body"]
    return f"{len(json.dumps(body))} characters with {len(body.get('tools') or [])} tools"


def prompt(*arguments: str) -> str:
    before = len(seen("/v1/messages"))
    try:
        said = claude(*arguments)
    except AssertionError as error:
        found = seen("/v1/messages")[before:]
        if "output token maximum" in str(error) and found[-1]["status"] == 200:
            return f"{large(found)}; the model's answer was cut at its limit, and the client says so"
        if found and found[-1]["status"] == 400 and "context" in found[-1]["answer"]:
            raise Unable(
                f"its request ({large(found)}) is longer than the model's context: {found[-1]['answer'][:250]}"
            ) from None
        raise
    found = seen("/v1/messages")[before:]
    assert said["is_error"] is False, said
    assert found[-1]["status"] == 200, found[-1]["answer"]
    return f"{len(found)} requests; {large(found)}; {said['result'][:40]!r}"


@case("a prompt, with its own system prompt and tools")
def _() -> str:
    return prompt()


@case("a prompt, with a short system prompt and without tools")
def _() -> str:
    return prompt("--system-prompt", "You are brief.", "--tools", "")


@case("a prompt, with one tool")
def _() -> str:
    return prompt("--system-prompt", "You are brief.", "--tools", "Read")


@case("errors: unknown model")
def _() -> str:
    ask = ("--system-prompt", "You are brief.", "--tools", "", "--model", "no-such-model")
    said = str(raises(AssertionError, lambda: claude(*ask)))
    statuses = {one["status"] for one in seen("/v1/messages") if one["body"]["model"] == "no-such-model"}
    assert statuses == {404}, statuses
    assert "no-such-model" in said, said
    return "it says so, after a 404"
