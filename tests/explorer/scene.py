"""A network with something to look at: real peers in real processes, SIMULATED engines, a gateway with its pages.

Law: a scene ends every process that it started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from p2p.base.genesis import SprintRules
from p2p.base.types import ENDED
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import start, stop
from testnet.state_file import alive, read_state
from tests.net_lab import Net, until

ASKED = ("What is a ledger?", "Name three rivers.", "Count to five.", "Why is the sky blue?", "Say hello.")


class Scene:
    """Four peers, a gateway, and some finished inferences. keys: that the gateway asks for."""

    def __init__(self, folder: Path, *, sprint: bool = False, keys: Sequence[str] = ()) -> None:
        rules = {"sprint": SprintRules(blocks=12, open_blocks=8, samples=2, max_tokens=16, unit_tokens=20)}
        self.net = Net(folder / "net", window=8, epoch_blocks=160 if sprint else 80, **(rules if sprint else {}))
        self.key_file = folder / "keys"
        self.keys = tuple(keys)
        extra: list[str] = []
        if keys:
            self.key_file.write_text("\n".join(keys) + "\n")
            extra = ["--api-key-file", str(self.key_file)]
        peers = [word for at in range(4) for word in ("--peer", self.net.address(at))]
        client = ["--dir", str(self.net.directory / "client"), "--listen", "127.0.0.1:0", *peers]
        self.url = self._start(folder / "gateway.log", ["gateway", "--json", *client, *extra])

    def _start(self, log: Path, words: list[str]) -> str:
        start(words[0], ["p2p", *words], log, self.net.directory)

        def said() -> str:
            assert alive(read_state(self.net.directory)["processes"][words[0]]), log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return next((str(line["url"]) for line in lines if line.get("event") == "listening"), "")

        return str(until(said, 90))

    def explorer(self, folder: Path) -> str:
        """Start `folkmoot explorer` too. Returns its address."""
        words = ["explorer", "--json", "--dir", str(self.net.directory / "client"), "--listen", "127.0.0.1:0"]
        return self._start(folder / "explorer.log", [*words, "--peer", self.net.address(0)])

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[0]}"} if self.keys else {}

    def ask(self, text: str, tokens: int = 24, **more: Any) -> str:
        """The inference's id."""
        return self.said([{"role": "user", "content": text}], tokens, **more)[0]

    def said(
        self, messages: list[dict[str, str]], tokens: int = 24, *, session: str = "", **more: Any,
    ) -> tuple[str, str]:
        """(the inference's id, the answer's text). more: of the request's body."""
        body = {"model": DEFAULT_MODEL, "messages": messages, "max_tokens": tokens, **more}
        headers = {**self.headers(), **({"x-folkmoot-session": session} if session else {})}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120)
        assert answer.status_code == 200, answer.text
        inference_id = answer.headers["x-folkmoot-inference"].split(",")[-1]
        return inference_id, str(answer.json()["choices"][0]["message"]["content"])

    def structured(self) -> str:
        """The id of an inference whose answer keeps to a JSON schema."""
        yes_or_no = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"],
                     "additionalProperties": False}
        wanted = {"type": "json_schema", "json_schema": {"name": "yes_or_no", "strict": True, "schema": yes_or_no}}
        asked = [{"role": "user", "content": "Is water wet?"}]
        inference_id, text = self.said(asked, 64, response_format=wanted)
        assert isinstance(json.loads(text)["yes"], bool)
        return inference_id

    def later_turn(self, name: str = "trip") -> str:
        """The id of a session's third turn, at a later height than the first."""
        messages = list[dict[str, str]]()
        for text in ("Name a river.", "And one more?", "Which is longer?"):
            messages.append({"role": "user", "content": text})
            inference_id, said = self.said(messages, session=name)
            messages.append({"role": "assistant", "content": said})
            top = self.net.height(0)
            until(lambda top=top: self.net.height(0) > top + 1)
        return inference_id

    def ask_all(self, texts: Sequence[str] = ASKED) -> list[str]:
        return [self.ask(text) for text in texts]

    def api(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}/explorer/api/{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, inference_id: str) -> dict[str, Any]:
        """The story, once the inference has ended."""
        def story() -> dict[str, Any] | None:
            answer = httpx.get(f"{self.url}/explorer/api/inferences/{inference_id}", timeout=30)
            found = answer.json() if answer.status_code == 200 else None
            return found if found and found["inference"]["status"] in ENDED else None

        return dict(until(story, 120))

    def close(self) -> None:
        stop(self.net.directory, ["gateway", "explorer"])
        self.net.close()
