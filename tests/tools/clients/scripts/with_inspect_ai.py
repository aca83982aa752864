"""inspect-ai: an evaluation of two samples, one with a tool, through its provider for OpenAI-compatible servers."""

from __future__ import annotations

import json

from cases import BASE, HOME, KEY, MODEL, asked, case, command

TASK = '''
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool
from inspect_ai.util import json_schema
from pydantic import BaseModel

SAMPLES = [Sample(input="Say hello.", target="hello"), Sample(input="Say yes.", target="yes")]


class Answer(BaseModel):
    yes: bool


@tool
def add():
    async def execute(x: int, y: int):
        """Add two numbers.

        Args:
            x: One number.
            y: Another.
        """
        return x + y

    return execute


@task
def plain():
    return Task(dataset=SAMPLES, solver=[system_message("You are brief."), generate()], scorer=includes(),
                config=GenerateConfig(max_tokens=12, temperature=0.5, seed=1))


@task
def schema():
    form = ResponseSchema(name="answer", json_schema=json_schema(Answer), strict=True)
    return Task(dataset=SAMPLES, solver=[generate()], scorer=includes(),
                config=GenerateConfig(max_tokens=64, response_schema=form))


@task
def tools():
    return Task(dataset=SAMPLES[:1], solver=[use_tools(add()), generate()], scorer=includes(), message_limit=6,
                config=GenerateConfig(max_tokens=24))
'''
(HOME / "evaluation.py").write_text(TASK)


def evaluate(name: str) -> str:
    """Run one task; its log says that it succeeded."""
    logs = HOME / f"logs-{name}"
    command(
        ["inspect", "eval", f"evaluation.py@{name}", "--model", f"openai-api/ours/{MODEL}", "--log-format", "json",
         "--log-dir", str(logs), "--display", "plain", "--max-retries", "1", "--no-fail-on-error"],
        OURS_BASE_URL=BASE, OURS_API_KEY=KEY,
    )
    log = json.loads(next(logs.glob("*.json")).read_text())
    assert log["status"] == "success", log.get("error")
    bad = [sample["error"]["message"] for sample in log["samples"] if sample.get("error")]
    assert not bad, bad[0]
    return asked("/v1/chat/completions")


for words, name in (("chat", "plain"), ("schema", "schema"), ("tools", "tools")):
    case(words)(lambda name=name: evaluate(name))
