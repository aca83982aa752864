"""The client matrix keeps its promises: it finds faults of a server, changes nothing that passes, and ends what hangs.

The server here is scripted: a few lines that answer as /v1/chat/completions does, with a fault where a test wants one.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tools.clients import __main__ as command
from tests.tools.clients.environments import Environment, InstallError, prepare
from tests.tools.clients.matrix import CLIENTS, Client, Kind, chosen
from tests.tools.clients.recorder import Seen, recording
from tests.tools.clients.report import kept, outcome, page
from tests.tools.clients.requests import fields, outside, together
from tests.tools.clients.running import SCRIPTS, Result, Target, cases, run

ROOT = Path(__file__).parent.parent.parent
CURL = next(client for client in CLIENTS if client.name == "curl")


class Scripted(BaseHTTPRequestHandler):
    """Answers chat completions rightly, except for the fault that its server names."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, words: str) -> None:
        self.send(status, {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}})

    def do_GET(self) -> None:
        if self.headers.get("authorization") != "Bearer sk-right":
            self.refuse(401, "no key")
        elif self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": "toy", "object": "model", "owned_by": "script"}]})
        else:
            self.refuse(404, "no such path")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        fault = getattr(self.server, "fault", "")
        if data == b"{":
            self.refuse(400, "no JSON")
            return
        body = json.loads(data)
        if body["model"] != "toy":
            self.refuse(404 if fault != "status" else 500, f"no model {body['model']}")
            return
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4 + (fault == "usage")}
        text = '{"answer": true}' if "response_format" in body else "Hello."
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            self.send(200, {"object": "chat.completion", "usage": usage, "choices": [
                {"index": 0, "message": message, "finish_reason": "stop"},
            ]})
            return
        head = {"id": "c1", "object": "chat.completion.chunk"}
        chunks: list[Any] = [
            {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**head, "choices": [], "usage": usage},
        ]
        lines = [json.dumps(chunk) for chunk in chunks] + ([] if fault == "done" else ["[DONE]"])
        self.send(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")


@contextmanager
def scripted(fault: str = "") -> Iterator[str]:
    """The URL of a scripted server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.fault = fault  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def curl(tmp_path: Path, fault: str = "") -> tuple[dict[str, bool | None], list[Seen]]:
    """What the script of curl finds about a scripted server."""
    environment = prepare(CURL, tmp_path / "cache", lambda text: None)
    with scripted(fault) as url, recording(url) as recorder:
        results, seen = run(CURL, environment, Target(url, "sk-right", "toy"), recorder, log=tmp_path / "log")
    return {result.case: result.ok for result in results}, seen


def of_script(tmp_path: Path, text: str, limit_s: float = 60.0) -> list[Result]:
    """The results of a script, which asks nobody."""
    (tmp_path / "script.py").write_text(text)
    client = Client("a", Kind.MAIN, (), str(tmp_path / "script.py"), "", limit_s=limit_s)
    environment = Environment((sys.executable,), tmp_path, (), "1.0")
    with scripted() as url, recording(url) as recorder:
        return run(client, environment, Target(url, "k", "toy"), recorder, log=tmp_path / "log")[0]


def test_a_right_server_is_green(tmp_path: Path) -> None:
    found, seen = curl(tmp_path)
    assert set(found.values()) == {True}, found
    assert {one.status for one in seen} == {200, 400, 401, 404}


@pytest.mark.parametrize(("fault", "case"), [
    ("done", "stream"), ("usage", "chat"), ("status", "errors: unknown model"),
])
def test_each_fault_of_a_server_is_red_in_its_case(tmp_path: Path, fault: str, case: str) -> None:
    found, _ = curl(tmp_path, fault)
    assert [name for name, ok in found.items() if not ok] == [case]


def test_what_passes_the_recorder_is_not_changed() -> None:
    body = {"model": "toy", "messages": [{"role": "user", "content": "Hello"}], "stream": True}

    def ask(url: str) -> bytes:
        request = urllib.request.Request(
            url + "/v1/chat/completions?a=b", json.dumps(body).encode(), {"authorization": "Bearer sk-right"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    with scripted() as url, recording(url) as recorder:
        assert ask(recorder.url) == ask(url)
        (seen,) = recorder.take()
    assert (seen.method, seen.path, seen.query, seen.status) == ("POST", "/v1/chat/completions", "a=b", 200)
    assert seen.body == body
    assert seen.headers["authorization"] == "Bearer sk-right"


def test_the_first_request_below_busy_gets_429_and_the_next_ones_pass() -> None:
    with scripted() as url, recording(url) as recorder:
        to = http.client.HTTPConnection(recorder.url.removeprefix("http://"), timeout=30)
        body = json.dumps({"model": "toy", "messages": []})
        found = []
        for _ in range(3):
            to.request("POST", "/busy/v1/chat/completions", body, {"content-type": "application/json"})
            answer = to.getresponse()
            found.append((answer.status, answer.getheader("retry-after")))
            answer.read()
        to.close()
        assert [one.path for one in recorder.take()] == 3 * ["/v1/chat/completions"]
    assert found == [(429, "1"), (200, None), (200, None)]


def test_a_client_reaches_no_other_host_and_the_table_says_which_it_wanted(tmp_path: Path) -> None:
    with scripted() as url, recording(url) as recorder:
        to = http.client.HTTPConnection(recorder.url.removeprefix("http://"), timeout=30)
        to.set_tunnel("example.org", 443)
        with pytest.raises(OSError, match="403"):
            to.connect()
        assert outside(recorder.take()) == ["example.org:443"]


def test_the_home_of_a_script_is_its_own_and_is_thrown_away(tmp_path: Path) -> None:
    (result,) = of_script(tmp_path, (
        "import json, os, pathlib\n"
        "home = pathlib.Path(os.environ['HOME'])\n"
        "(home / 'file').write_text('')\n"
        "print('CASE ' + json.dumps({'case': 'home', 'ok': True, 'detail': str(home)}))\n"
    ))
    assert result.ok
    assert not Path(result.detail).exists()


@pytest.mark.parametrize(("text", "why"), [
    ("print('no case')", "it ended with 0: no case"), ("raise SystemExit(7)", "it ended with 7"),
    ("print('CASE {')", "a line that is no result"),
])
def test_a_script_that_ends_otherwise_is_a_red_case(tmp_path: Path, text: str, why: str) -> None:
    results = of_script(tmp_path, text)
    assert [(result.case, result.ok) for result in results] == [("run", False)]
    assert why in results[0].detail


def test_what_a_script_says_names_no_path_of_this_machine(tmp_path: Path) -> None:
    results = of_script(tmp_path, f"raise SystemExit({str(ROOT / 'tests' / 'a_file.py')!r} + ' failed')\n")
    assert "tests/a_file.py failed" in results[0].detail
    assert str(ROOT) not in results[0].detail


def test_a_script_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    results = of_script(tmp_path, (
        "import subprocess\nchild = subprocess.Popen(['sleep', '1000'])\nprint(child.pid, flush=True)\nchild.wait()\n"
    ), limit_s=5.0)
    assert "it was not done in 5 s" in results[0].detail
    for pid in (tmp_path / "log").read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_result_is_a_line_and_other_lines_are_the_clients_own() -> None:
    said = ["words", 'CASE {"case": "a", "ok": true, "detail": ""}', 'CASE {"case": "b", "ok": null, "detail": "why"}']
    assert cases(said) == [("a", True, ""), ("b", None, "why")]


def test_an_installation_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    client = Client("nothing", Kind.PYPI, ("no-such-package-of-anybody==1.0",), "with_curl.py", "")
    with pytest.raises(InstallError, match="No matching distribution"):
        prepare(client, tmp_path, lambda text: None)


def test_what_is_installed_is_kept(tmp_path: Path) -> None:
    """The package is one of this project's own, which a shared environment sees: nothing is downloaded."""
    from importlib.metadata import version

    said: list[str] = []
    client = Client("httpx", Kind.PYPI, (f"httpx=={version('httpx')}",), "with_curl.py", "", shared=True)
    first = prepare(client, tmp_path, said.append)
    assert "httpx: installed in" in said.pop()
    said.clear()
    assert prepare(client, tmp_path, said.append) == first
    assert said == [], "the second time installs nothing"
    look = [*first.program, "-c", "import httpx; print(httpx.__version__)"]
    found = subprocess.run(look, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == first.version


def test_fields_are_named_without_what_a_user_wrote() -> None:
    found = fields({
        "model": "m", "stream": True, "messages": [
            {"role": "user", "content": "secret"}, {"role": "system", "content": [{"type": "text", "text": "secret"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "secret": 1}}}],
        "stop": None, "tool_choice": "auto",
    })
    assert not any("secret" in name for name in found)
    assert fields(None) == fields("{") == set()
    assert together(found) == [
        "messages[].content", "messages[].content[].text", "messages[].content[].type=text",
        "messages[].role=system|user", "model", "stop=null", "stream=true", "tool_choice=auto",
        "tools[].function.name", "tools[].function.parameters", "tools[].type=function",
    ]


def test_every_row_is_exact_and_has_its_script() -> None:
    names = [client.name for client in CLIENTS]
    assert len(set(names)) == len(names)
    for client in CLIENTS:
        assert (SCRIPTS / client.script).is_file(), client.name
        assert bool(client.packages) == (client.kind is not Kind.MAIN)
        assert not client.packages or client.version.count(".") >= 1, f"{client.name} has no exact version"


def test_clients_are_chosen_by_their_names_or_parts_of_them() -> None:
    assert [client.name for client in chosen("llm", False)] == ["llm"], "the whole name of one, a part of three others"
    assert [client.name for client in chosen("CURL, codex", False)] == ["curl", "codex (npm)"]
    assert {client.name for client in chosen("", True)} == {"curl", "openai (Python)", "anthropic (Python)"}
    with pytest.raises(ValueError, match="no client is called 'gopher'"):
        chosen("gopher", False)


def test_the_outcome_counts_what_cannot_be_run_here_neither_way() -> None:
    good, bad, not_here = (Result("a", "1", "c", ok, "") for ok in (True, False, None))
    assert outcome([good]) == "green"
    assert outcome([good, not_here]) == "green, 1 not run here"
    assert outcome([not_here]) == "not run here"
    assert outcome([good, bad, not_here]) == "1 of 3 red"


def test_a_run_is_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "RUNS", tmp_path / "runs")
    with scripted("done") as url:
        argv = ["--url", url, "--key", "sk-right", "--only", "curl", "--cache", str(tmp_path), "--out"]
        assert command.main([*argv, str(tmp_path / "p.md")]) == 1, "a red case is a failure"
    assert "1 of 8 red" in capsys.readouterr().out
    text = (tmp_path / "p.md").read_text()
    assert "| curl | " in text
    assert "| curl | stream | - |" in text
    assert "`POST /v1/chat/completions`" in text
    runs = kept(tmp_path / "runs", "script")
    assert page(runs, "script", "toy") == text
    assert kept(tmp_path / "runs", "another server") == {}


def test_the_page_names_every_client() -> None:
    text = (ROOT / "docs" / "clients.md").read_text()
    for client in CLIENTS:
        assert f"| {client.name} |" in text, client.name


@pytest.mark.network
@pytest.mark.engine
def test_the_quick_part_is_green_against_a_live_gateway() -> None:
    """curl, openai and anthropic, each unmodified, through four peers and one vLLM."""
    assert command.main(["--quick"]) == 0
