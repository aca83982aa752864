"""debug bundle: secrets and prompts are planted wherever they could be; none is in the archive."""

from __future__ import annotations

import base64
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import base58
import pytest
import trio

from p2p.base.keys import Key
from p2p.cli.debug import log_end
from p2p.cli.main import main
from p2p.cli.redact import Redactor
from p2p.machine.logs import render
from p2p.peer.control import serve_control, socket_path

PROMPT = "my grandmother hides her jewels under the oak"
API_KEY, TOKEN, PASSWORD = "ak-live-77aa88bb99cc", "sk-proj-0123456789abcdef", "correct-horse-battery"
ACCOUNT, NODE = Key(b"\x11" * 32), Key(b"\x22" * 32)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """A peer whose words hold secrets that others said to it."""
    if request["op"] == "status":
        return {
            "peer_id": NODE.peer_id, "node": NODE.public.hex(), "height": 7, "state": "ready",
            "ml_node": f"http://me:{PASSWORD}@127.0.0.1:8000", "said": f"the engine failed: {PROMPT}",
            "failures": [{"part": "executor", "count": 2, "last": f"ValueError('{PROMPT}')"}], "prompt": PROMPT,
            "unheard-of": PROMPT, "alone": f"no peer answers '{PROMPT}'",
        }
    return {"peers": [{"peer_id": NODE.peer_id}]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "peer"
    for place in ("log", "sessions"):
        (folder / place).mkdir(parents=True)
    ACCOUNT.save(folder / "account.key")
    NODE.save(folder / "node.key")
    (folder / "vllm.txt").write_text(f"# for vLLM\n{API_KEY}\n")
    (folder / "config.toml").write_text(
        'network = "n"\nml_node_key = "vllm.txt"\nmodel = "SmolLM2-135M-Instruct"\nstrange = "' + PROMPT + '"\n'
        f'ml_node = "http://me:{PASSWORD}@127.0.0.1:8000"\n'
        f'engine_flags = ["--seed=7", "--api-key={TOKEN}", "{PROMPT}"]\n'
    )
    (folder / "sessions" / "a.json").write_text(PROMPT)
    (folder / "chat-history").write_text(PROMPT)
    (folder / "log" / "vllm.log").write_text(f"prompt: {PROMPT}")
    events = [
        {"event": "started", "height": 7, "peer": NODE.peer_id}, {"event": "asked", "prompt": PROMPT, "tokens": 9},
        {"event": "refused", "reason": f"the body '{PROMPT}' is too long"},
        {"event": "failed", "reason": f"the engine said: {PROMPT}"},
        {"event": "odd", "something": PROMPT}, {"event": f"key {ACCOUNT.seed.hex()} was read"},
        {"event": "http", "header": f"Authorization: Bearer {TOKEN}", "logger": "httpx"},
        {"event": f"POST {PROMPT}", "logger": "vllm.engine"}, {"event": "raw", "why": repr(ACCOUNT.seed)},
        {"event": "base", "key58": base58.b58encode(ACCOUNT.seed).decode()},
        {"event": "base", "b64": base64.b64encode(NODE.seed).decode()},
        {"event": "url", "url": f"https://u:{PASSWORD}@host/x", "api": API_KEY},
        {"event": "crash", "exc_info": ValueError(PROMPT)},
    ]
    lines = [render(style, "info", one) for style in ("text", "json") for one in events]
    (folder / "log" / "folkmoot.log").write_text("\n".join([*lines, PROMPT, f"{{{PROMPT}"]) + "\n")
    monkeypatch.setenv("SOME_API_KEY", TOKEN)

    scopes: list[Any] = []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            scopes.extend([scope, trio.lowlevel.current_trio_token()])
            await serve_control(folder, answer)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    while not socket_path(folder).exists():
        threading.Event().wait(0.01)
    yield folder
    scopes[1].run_sync_soon(scopes[0].cancel)
    thread.join(60)


def forms() -> list[str]:
    """All that must not be there."""
    found = [PROMPT, "grandmother", "jewels", API_KEY, TOKEN, PASSWORD]
    for key in (ACCOUNT, NODE):
        raw = base64.b64encode(key.seed).decode().rstrip("=")
        found += [key.seed.hex(), key.seed.hex().upper(), raw, base58.b58encode(key.seed).decode()]
        found.append(repr(key.seed)[2:-1])
    return found


def test_no_planted_secret_is_in_the_bundle(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bundle.tar.gz"
    assert main(["debug", "bundle", "--dir", str(home), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as tar:
        parts = {name: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    assert {name.removeprefix("folkmoot-debug/") for name in parts} == set(told["parts"])
    whole = "\n".join(parts.values())
    assert [form for form in forms() if form in whole] == []
    assert not any(entry in name for name in parts for entry in ("session", "history", "vllm", "account.key"))


def test_what_is_harmless_stays(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bundle.tar.gz"
    main(["debug", "bundle", "--dir", str(home), "--out", str(out)])
    assert "look through it" in capsys.readouterr().out
    with tarfile.open(out) as tar:
        parts = {name.rpartition("/")[2]: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    status, config = json.loads(parts["status.json"]), json.loads(parts["config.json"])
    assert (status["height"], status["state"], status["node"]) == (7, "ready", NODE.public.hex())
    assert status["said"] == "the engine failed: <...>"
    assert config["model"] == "SmolLM2-135M-Instruct"
    assert config["engine_flags"][0] == "--seed=7"
    assert f"peer='{NODE.peer_id}'" in parts["log.txt"]
    assert "the body <...> is too long" in parts["log.txt"]
    assert len(parts["log.txt"].splitlines()) == 28
    assert json.loads(parts["versions.json"])["python"]
    assert "metrics" in json.loads(parts["missing.json"])


def test_a_folder_without_a_peer_still_gives_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "bundle", "--dir", str(tmp_path), "--out", str(tmp_path / "b"), "--json"]) == 0
    missing = " ".join(json.loads(capsys.readouterr().out)["missing"])
    assert "status: no peer runs in" in missing
    assert "log: cannot be read" in missing
    assert main(["debug", "bundle", "--dir", str(tmp_path / "none")]) == 2


def test_the_log_is_read_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert log_end(file, 3) == ["line 997", "line 998", "line 999"]
    assert log_end(file, 0) == []


def test_a_secret_of_few_characters_does_not_blank_everything() -> None:
    assert Redactor([b"a"]).known("a banana") == "a banana"
