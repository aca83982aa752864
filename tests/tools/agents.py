"""`make agents`: a coding agent and a chat program do a task of several turns through a live network.

Four peers, a real vLLM with the demo model at its whole context (8,192 tokens), and `folkmoot gateway`. aider, as PyPI
ships it, works on a file in four turns of one conversation. Then the requests of open-webui, as its backend makes them:
models, a conversation of four turns, the title and the follow-ups beside it, an answer that its user stops.

Law: what was said is written down as it was, and no word of it is judged: the demo model has 135M parameters. Judged
are statuses, that no request failed, and that later turns carry the earlier ones.

    python -m tests.tools.agents [--out docs/transcripts]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import stop
from testnet.up import bring_up
from tests.tools.clients.environments import Environment, prepare
from tests.tools.clients.matrix import CLIENTS
from tests.tools.clients.network import start_gateway
from tests.tools.clients.recorder import Recorder, Seen, recording
from tests.tools.clients.running import Target, environment_of

PEERS, CONTEXT = 4, 8192
ANSWER = 200  # tokens of an answer
LIMIT_S = 900.0  # for one turn of aider
CACHE = Path(".venv/clients")
FILE = "def add(a, b):\n    return a + b\n"
TURNS = (
    "What does add do?", "Add a function sub that subtracts b from a.", "Now write a docstring for each function.",
    "Is there anything left to do?",
)
TALK = ("Name three towns by the sea.", "Which of them is the oldest?", "Say that again in one sentence.",
        "Write a long story about it.")
TITLE = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
    '### Output:\nJSON format: {{ "title": "your concise title here" }}\n'
    "### Chat History:\n<chat_history>\nUSER: {0}\nASSISTANT: {1}\n</chat_history>"
)
FOLLOW_UPS = (
    "### Task:\nSuggest 3-5 relevant follow-up questions.\n"
    '### Output:\nJSON format: {{ "follow_ups": ["Question 1?"] }}\n'
    "### Chat History:\n<chat_history>\nUSER: {0}\nASSISTANT: {1}\n</chat_history>"
)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def aider(environment: Environment, target: Target, recorder: Recorder, home: Path) -> str:
    """The transcript. Raises AssertionError."""
    (home / "sums.py").write_text(FILE)
    (home / "metadata.json").write_text(json.dumps({f"openai/{DEFAULT_MODEL}": {
        # without these aider takes the model's context for endless, and sends more than it holds
        "max_input_tokens": CONTEXT - 1024, "max_output_tokens": ANSWER, "litellm_provider": "openai", "mode": "chat",
        "input_cost_per_token": 0, "output_cost_per_token": 0,
    }}))
    (home / "settings.yml").write_text(
        f"- name: openai/{DEFAULT_MODEL}\n  edit_format: whole\n  use_repo_map: false\n"
        f"  extra_params:\n    max_tokens: {ANSWER}\n"
    )
    argv = [
        "aider", "--model", f"openai/{DEFAULT_MODEL}", "--openai-api-base", recorder.url + "/v1", "--openai-api-key",
        target.key, "--no-git", "--yes-always", "--no-check-update", "--analytics-disable", "--no-pretty",
        "--no-show-model-warnings", "--no-detect-urls", "--no-show-release-notes", "--map-tokens", "0",
        "--max-chat-history-tokens", "2048", "--restore-chat-history",
        "--model-metadata-file", "metadata.json", "--model-settings-file", "settings.yml",
    ]
    env, lines, sizes = environment_of(environment, target, recorder.url, home), [f"$ cat sums.py\n{FILE}"], []
    for turn in TURNS:
        recorder.take()
        done = subprocess.run(
            [*argv, "--message", turn, "sums.py"], cwd=home, env=env, capture_output=True, text=True, timeout=LIMIT_S,
            stdin=subprocess.DEVNULL, check=False,
        )
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
        seen = asked(recorder.take())
        assert seen, "it asked nothing"
        sizes.append(max(len(one.body["messages"]) for one in seen))
        lines.append(f"$ aider --message {turn!r} sums.py\n{done.stdout.strip()}\n\n{shown(seen)}")
    assert sizes == sorted(sizes), f"each turn carries the earlier ones: {sizes}"
    assert sizes[-1] > sizes[0]
    lines.append(f"$ cat sums.py\n{(home / 'sums.py').read_text()}")
    return "\n\n".join(lines)


def asked(seen: Sequence[Seen]) -> list[Seen]:
    """The requests to the gateway; raises AssertionError where one was not answered with 200."""
    found = [one for one in seen if one.path == "/v1/chat/completions"]
    assert all(one.status == 200 for one in found), [(one.status, one.answer) for one in found]
    return found


def shown(seen: Sequence[Seen]) -> str:
    return "\n".join(
        f"[POST {one.path}: {len(one.body['messages'])} messages, stream {bool(one.body.get('stream'))}: {one.status}]"
        for one in seen
    )


class WebUi:
    """open-webui's backend for an OpenAI connection, as far as it talks to the gateway."""

    def __init__(self, http: httpx.Client) -> None:
        self.http, self.lines, self.messages = http, list[str](), list[dict[str, str]]()

    def models(self) -> None:
        found = self.http.get("/models").raise_for_status().json()["data"]
        assert DEFAULT_MODEL in [one["id"] for one in found]
        self.lines.append(f"[GET /v1/models: {', '.join(one['id'] for one in found)}]")

    def turn(self, text: str, *, most: int = ANSWER, stop_after: int = 0) -> None:
        """The user writes, and reads the stream; stop_after: pieces after which the user presses stop."""
        self.messages.append({"role": "user", "content": text})
        pieces, usage = list[str](), {}
        with self.http.stream("POST", "/chat/completions", json={
            "stream": True, "model": DEFAULT_MODEL, "messages": self.messages, "max_tokens": most,
            "stream_options": {"include_usage": True},
        }) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line[6:])
                    assert "error" not in event, event
                    usage = event.get("usage") or usage
                    pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
                if stop_after and len(pieces) >= stop_after:
                    break
        said = "".join(pieces)
        assert said or stop_after
        self.messages.append({"role": "assistant", "content": said})
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        end = "stopped by the user" if stop_after else f"{usage['prompt_tokens']} tokens of prompt, {cached} of them " \
            f"from the cache; {usage['completion_tokens']} of answer"
        self.lines.append(f"USER: {text}\n\nASSISTANT: {said}\n\n[{len(pieces)} pieces; {end}]")

    def task(self, name: str, prompt: str) -> None:
        """What it asks beside the conversation."""
        first = self.messages[0]["content"], self.messages[1]["content"]
        answer: Any = self.http.post("/chat/completions", json={
            "model": DEFAULT_MODEL, "messages": [{"role": "user", "content": prompt.format(*first)}], "stream": False,
            "max_completion_tokens": 60,
        }).raise_for_status().json()
        self.lines.append(f"[{name}: {answer['choices'][0]['message']['content'].strip()!r}]")


def web_ui(url: str, key: str) -> str:
    """The transcript. Raises AssertionError, httpx.HTTPError."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "x-openwebui-chat-id": "c1"}
    with httpx.Client(base_url=url + "/v1", timeout=LIMIT_S, trust_env=False, headers=headers) as http:
        page = WebUi(http)
        page.models()
        page.turn(TALK[0])
        page.task("title", TITLE)
        page.task("follow-ups", FOLLOW_UPS)
        page.turn(TALK[1])
        page.turn(TALK[3], stop_after=12)
        page.turn(TALK[2])
        return "\n\n".join(page.lines)


def write(out: Path, name: str, what: str, text: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plain = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    lines = "\n".join(line.rstrip() for line in plain.split("\n"))
    (out / name).write_text(f"{what}\nMade by `make agents`: four peers, one vLLM with {DEFAULT_MODEL}, "
                            f"`folkmoot gateway`.\n\n{lines}\n")
    say(f"written: {out / name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/transcripts"))
    parser.add_argument("--only", choices=("aider", "open-webui"), help="one of the two")
    options = parser.parse_args()
    client = next(one for one in CLIENTS if one.name == "aider")
    environment = prepare(client, CACHE.resolve(), say) if options.only != "open-webui" else None
    with tempfile.TemporaryDirectory(prefix="folkmoot-agents-") as folder:
        directory, home = Path(folder) / "net", Path(folder) / "home"
        directory.mkdir()
        home.mkdir()
        network = bring_up(directory, PEERS, 1, None, say, context_tokens=CONTEXT)
        try:
            url, key = start_gateway(network, say)
            if options.only != "aider":
                write(options.out, "open-webui.txt", "The requests of open-webui, as its backend makes them.",
                      web_ui(url, key))
            if environment is not None:
                target = Target(url, key, DEFAULT_MODEL)
                with recording(url) as recorder:
                    text = aider(environment, target, recorder, home)
                write(options.out, "aider.txt", f"aider {environment.version}, a file in four turns.", text)
        finally:
            stop(directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
