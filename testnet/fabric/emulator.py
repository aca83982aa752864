"""`python -m testnet.fabric.emulator`: lets the packets of a fabric's router pass through a delay line.

Law: it ends when its standard input ends, so it never outlives the run that started it. Linux only; root.

Every packet between two members enters a TUN device and is written back when its time has come. The first line of
standard input says links, regions and seed; each further line replaces the overlays (links.py). It prints `ready`, and
its counts when it ends. Why not netem: not every kernel has it, and a rule for each pair of regions and perturbation is
one lookup here (decision 054).
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import struct
import sys
import time

import msgspec

from testnet.fabric.delay_line import DelayLine
from testnet.fabric.links import Ways, overlay_from_json
from testnet.manifest.model import Link

DEVICE = "tun0"
MTU = 9000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MAX_LINE = 1 << 20
_AT_ONCE = 64  # packets that are read before those that are due go out


def open_tun(name: str) -> int:
    """A TUN device that gives and takes bare IP packets."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return file


def ends(packet: bytes) -> tuple[str, str] | None:
    """(source, target) of an IPv4 packet; None for anything else."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    return ".".join(map(str, packet[12:16])), ".".join(map(str, packet[16:20]))


def take(tun: int, line: DelayLine) -> None:
    """Read what has come to the device."""
    for _ in range(_AT_ONCE):
        try:
            packet = os.read(tun, 65_536)
        except BlockingIOError:
            return
        if pair := ends(packet):
            line.offer(packet, *pair, time.monotonic())


def give(tun: int, line: DelayLine) -> None:
    """Write what is due. A packet that the kernel does not take is lost, as on any full queue."""
    for packet in line.due(time.monotonic()):
        try:
            os.write(tun, packet)
        except OSError:
            line.counts["dropped"] += 1


def run(tun: int, ways: Ways, line: DelayLine) -> None:
    """Until standard input ends."""
    orders, unread = sys.stdin.fileno(), b""
    poll = select.poll()
    poll.register(tun, select.POLLIN)
    poll.register(orders, select.POLLIN | select.POLLHUP)
    while True:
        due = line.next_due()
        wait_ms = None if due is None else max(0.0, (due - time.monotonic()) * 1e3)
        for file, _ in poll.poll(wait_ms):
            if file == tun:
                take(tun, line)
                continue
            got = os.read(orders, 65_536)
            if not got or len(unread) > _MAX_LINE:
                return
            *whole, unread = (unread + got).split(b"\n")
            for text in whole:
                ways.lay([overlay_from_json(one) for one in json.loads(text)])
        give(tun, line)


def main() -> int:
    first = json.loads(read_line())
    links = [msgspec.convert(link, Link) for link in first["links"]]
    ways = Ways(links, first["regions"])
    line = DelayLine(ways.between, random.Random(first["seed"]))
    tun = open_tun(DEVICE)
    print("ready", flush=True)
    try:
        run(tun, ways, line)
    finally:
        print(json.dumps(line.counts), flush=True)
    return 0


def read_line() -> bytes:
    """The first line, byte by byte: what follows it stays in the pipe for `run`."""
    found = bytearray()
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"\n", b""):
        found += byte
    return bytes(found)


if __name__ == "__main__":
    sys.exit(main())
