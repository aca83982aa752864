"""Faults of a peer's machine: processors that are busy, a clock that is off, a disk that is full or slow.

Law: each is real for the peer's process and, but for busy processors, for nobody else, and is undone by the call that
its maker returns.

Clocks: libfaketime (Debian: faketime) stands between the process and the kernel, and reads the offset from a file once
a second. Waits of trio are not touched; `time.sleep`, which a peer does not use, fails under an offset. Disks: the
peer's folder lies on a small file system of its own; a full one holds a file that takes the rest, a slow one is a loop
device for which the kernel lets the peer's group write so many times a second. Disks need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from p2p.base.errors import ConfigError, Unavailable
from testnet.manifest.kinds import Needs

CLOCK_FILE = "clock"  # in the peer's folder: its offset, as libfaketime reads it
FILLING = "filling"  # the file that fills a disk
DISK_MIB = 96
COMMAND_S = 60.0
BUSY_MARGIN_S = 5.0
_FAKETIME = tuple(f"/usr/lib/{kind}-linux-gnu/faketime/libfaketime.so.1" for kind in ("x86_64", "aarch64"))
_BLKIO = Path("/sys/fs/cgroup/blkio")
Undo = Callable[[], None]


def faketime() -> str:
    """The library's path; empty: it is not installed."""
    return next((path for path in _FAKETIME if Path(path).exists()), "")


def missing(needs: Needs) -> str:
    """Why such faults cannot be made here; empty: they can."""
    if Needs.CLOCKS in needs and not faketime():
        return "clocks need libfaketime (Debian: apt install faketime)"
    if Needs.DISKS in needs and os.geteuid() != 0:
        return "disks of their own need root"
    if Needs.DISKS in needs and shutil.which("losetup") is None:
        return "disks need losetup and mkfs.ext4 (Debian: mount, e2fsprogs)"
    return ""


# -- processors ------------------------------------------------------------------------------------------------------


def keep_busy(processes: int, seconds: float) -> Undo:
    """Processes that compute for nobody. Each is in a session of its own, for Linux shares processors between sessions;
    each ends by itself a little after `seconds`, also where this run is killed."""
    code = f"import time\nend = time.monotonic() + {seconds + BUSY_MARGIN_S}\nwhile time.monotonic() < end: pass"
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(processes)
    ]

    def undo() -> None:
        for one in busy:
            one.kill()
        for one in busy:
            one.wait(COMMAND_S)

    return undo


# -- clocks ----------------------------------------------------------------------------------------------------------


def clock_env(folder: Path) -> dict[str, str]:
    """Variables for a peer whose clock follows FOLDER/clock."""
    return {
        "LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": str(folder / CLOCK_FILE), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
    }


def set_clock(folder: Path, offset_ms: float) -> Undo:
    _write_offset(folder, offset_ms)
    return lambda: _write_offset(folder, 0.0)


def _write_offset(folder: Path, offset_ms: float) -> None:
    scratch = folder / (CLOCK_FILE + ".new")
    scratch.write_text(f"{offset_ms / 1000:+.3f}\n")
    scratch.rename(folder / CLOCK_FILE)


# -- disks -----------------------------------------------------------------------------------------------------------


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if check and done.returncode:
        raise Unavailable(f"`{' '.join(command)}` failed: {done.stderr.strip()}", field="disk")
    return done.stdout.strip()


def give_disk(folder: Path) -> Undo:
    """Put a folder and what is in it onto a file system of DISK_MIB. Before its peer starts."""
    image, device = folder.with_suffix(".disk"), ""
    with image.open("wb") as out:
        out.truncate(DISK_MIB << 20)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", str(image))
    device = _run("losetup", "--find", "--show", str(image))
    kept = folder.with_suffix(".files")
    folder.rename(kept)
    folder.mkdir(mode=0o700)
    _run("mount", device, str(folder))
    folder.chmod(0o700)
    shutil.rmtree(folder / "lost+found", ignore_errors=True)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    shutil.rmtree(kept)
    return lambda: take_disk(folder)


def take_disk(folder: Path) -> None:
    """Put what is on the folder's file system back onto the machine's own. After its peer has ended."""
    image, kept = folder.with_suffix(".disk"), folder.with_suffix(".files")
    if not image.exists():
        return
    device = device_of(folder)
    if device:
        shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns(FILLING, "*.sock"))
        _run("umount", "--lazy", str(folder), check=False)
        _run("losetup", "--detach", device, check=False)
        with suppress(OSError):
            folder.rmdir()
        kept.rename(folder)
    image.unlink(missing_ok=True)


def device_of(folder: Path) -> str:
    """The device that is mounted on a folder; empty: none."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, place, *_ = line.split(" ")
        if place == str(folder.resolve()):
            return device
    return ""


def fill_disk(folder: Path) -> Undo:
    """Leave no room."""
    filling = folder / FILLING
    with filling.open("wb") as out, suppress(OSError):
        while True:
            out.write(bytes(1 << 20))
            out.flush()
    return lambda: filling.unlink(missing_ok=True)


def slow_disk(folder: Path, pid: int, writes_a_second: int) -> Undo:
    """Let a process write to its folder's disk only so often. Raises ConfigError where the kernel cannot."""
    if not _BLKIO.exists():
        raise ConfigError("slow disks need the blkio controller of cgroup v1", field="kind")
    device = Path(device_of(folder)).name
    numbers = (Path("/sys/block") / device / "dev").read_text().strip()
    group = _BLKIO / f"fm-slow-{pid}"
    before = next(
        (line.rsplit(":", 1)[1] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if ":blkio:" in line),
        "/",
    )
    group.mkdir(exist_ok=True)
    (group / "blkio.throttle.write_iops_device").write_text(f"{numbers} {writes_a_second}")
    (group / "cgroup.procs").write_text(str(pid))

    def undo() -> None:
        with suppress(OSError):
            (_BLKIO / before.lstrip("/") / "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            group.rmdir()

    return undo
