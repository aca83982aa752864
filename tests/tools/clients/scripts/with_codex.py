"""codex exec, one prompt, with the gateway as its provider (wire API: responses)."""

from __future__ import annotations

from typing import Any

from cases import BASE, HOME, MODEL, Unable, asked, case, command, seen

FOLDER = HOME / ".codex"
FOLDER.mkdir()
(HOME / "work").mkdir()
(HOME / "brief.md").write_text("You are brief.")
CONFIG = f"""
model = "{MODEL}"
model_provider = "gateway"
model_context_window = 8192
web_search = "disabled"
check_for_update_on_startup = false
[analytics]
enabled = false
[feedback]
enabled = false
[model_providers.gateway]
name = "gateway"
base_url = "{BASE}"
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"""


def codex(*arguments: str) -> str:
    (FOLDER / "config.toml").write_text(CONFIG)
    return command([
        "codex", "exec", "--skip-git-repo-check", "--sandbox", "read-only", "--cd", str(HOME / "work"), "--color",
        "never", *arguments, "Say hello.",
    ], limit_s=180)


def prompt(found: list[dict[str, Any]]) -> str:
    """How large the last request was."""
    body = found[-1]["body"]
    size = len(str(body))
    tools = len(body.get("tools") or []) if isinstance(body, dict) else "?"
    return f"{size} characters with {tools} tools"


@case("a prompt, with its own instructions")
def _() -> str:
    try:
        codex()
    except AssertionError:
        too_long(seen("/v1/responses"))
        raise
    return f"{asked('/v1/responses')}; {prompt(seen('/v1/responses'))}"


def too_long(found: list[dict[str, Any]]) -> None:
    """Raises Unable where the server refused the last request only because it is longer than the model's context."""
    if found and found[-1]["status"] == 400 and "context" in found[-1]["answer"]:
        raise Unable(f"its request ({prompt(found)}) is longer than the model's context: {found[-1]['answer'][:250]}")


@case("a prompt, with short instructions and few tools")
def _() -> str:
    before = len(seen("/v1/responses"))
    try:
        codex("-c", f'model_instructions_file="{HOME / "brief.md"}"', *(
            word for name in ("apps", "goals", "multi_agent", "plugins", "shell_tool", "unified_exec", "browser_use",
                              "computer_use", "code_mode_host", "skill_search", "image_generation", "tool_search")
            for word in ("--disable", name)
        ))
    except AssertionError:
        too_long(seen("/v1/responses"))
        raise
    found = seen("/v1/responses")[before:]
    assert found[-1]["status"] == 200, found[-1]["answer"]
    return f"{len(found)} requests; {prompt(found)}"
