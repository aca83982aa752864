"""A network with something to look at: real peers in real processes, SIMULATED engines, a gateway with its pages.

Law: a scene ends every process that it started.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from p2p.base.genesis import SprintRules
from p2p.base.types import ENDED
from p2p.peer.config import DEFAULT_MODEL
from tests.net_lab import Net, until

ASKED = ("What is a ledger?", "Name three rivers.", "Count to five.", "Why is the sky blue?", "Say hello.")


class Scene:
    """Four peers, a gateway, and some finished inferences. keys: that the gateway asks for."""

    def __init__(self, folder: Path, *, sprint: bool = False, keys: Sequence[str] = ()) -> None:
        rules = {"sprint": SprintRules(blocks=12, open_blocks=8, samples=2, max_tokens=16, unit_tokens=20)}
        self.net = Net(folder / "net", window=8, epoch_blocks=160 if sprint else 80, **(rules if sprint else {}))
        self._processes: list[subprocess.Popen[bytes]] = []
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
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", "p2p", *words], stdout=out, stderr=subprocess.STDOUT)
        self._processes.append(process)

        def said() -> str:
            assert process.poll() is None, log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return next((str(line["url"]) for line in lines if line.get("event") == "listening"), "")

        return str(until(said, 90))

    def explorer(self, folder: Path) -> str:
        """Start `folkmoot explorer` too. Returns its address."""
        words = ["explorer", "--json", "--dir", str(self.net.directory / "client"), "--listen", "127.0.0.1:0"]
        return self._start(folder / "explorer.log", [*words, "--peer", self.net.address(0)])

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[0]}"} if self.keys else {}

    def ask(self, text: str, tokens: int = 24) -> str:
        """The inference's id."""
        body = {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": tokens}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers(), timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-folkmoot-inference"].split(",")[-1]

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
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
        self.net.close()
