"""codex exec, one prompt, with the gateway as its provider (wire API: responses)."""

from __future__ import annotations

from typing import Any

from cases import BASE, HOME, MODEL, Unable, case, command, seen

PATH = "/v1/responses"
FOLDER = HOME / ".codex"
FOLDER.mkdir()
(HOME / "work").mkdir()
(HOME / "brief.md").write_text("You are brief.")
TRIES, LIMIT_S = 2, 90.0  # it sets no limit of tokens, and a small model does not always end by itself
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
    ], limit_s=LIMIT_S)


def prompt(found: list[dict[str, Any]]) -> str:
    """How large the last request was."""
    body = found[-1]["body"]
    size = len(str(body))
    tools = len(body.get("tools") or []) if isinstance(body, dict) else "?"
    return f"{size} characters with {tools} tools"


def ask(*arguments: str) -> str:
    """One prompt, tried again where the model did not come to an end."""
    before = len(seen(PATH))
    for _ in range(TRIES):
        try:
            codex(*arguments)
            found = seen(PATH)[before:]
            assert found[-1]["status"] == 200, found[-1]["answer"]
            return f"{len(found)} requests; {prompt(found)}"
        except AssertionError as error:
            found, said = seen(PATH)[before:], str(error)
            if found and found[-1]["status"] == 400 and "context" in found[-1]["answer"]:
                why = found[-1]["answer"][:250]
                raise Unable(f"its request ({prompt(found)}) is longer than the model's context: {why}") from None
            endless = "was not done" in said or "ncomplete" in said
            if not (endless and found and found[-1]["status"] == 200):
                raise
    raise Unable(f"its request ({prompt(found)}) sets no limit of tokens, and the model did not end its answer: {said}")


@case("a prompt, with its own instructions")
def _() -> str:
    return ask()


@case("a prompt, with short instructions and few tools")
def _() -> str:
    return ask("-c", f'model_instructions_file="{HOME / "brief.md"}"', *(
        word for name in ("apps", "goals", "multi_agent", "plugins", "shell_tool", "unified_exec", "browser_use",
                          "computer_use", "code_mode_host", "skill_search", "image_generation", "tool_search")
        for word in ("--disable", name)
    ))
