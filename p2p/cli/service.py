"""service: a systemd unit that keeps a peer running.

Law: nothing of the system is changed but one unit file, and that only by `install` and `uninstall`; systemd is told
of it by the commands that are printed, or with --now.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError, StorageError, Unavailable
from p2p.base.files import exists, failure
from p2p.cli.arguments import default_dir
from p2p.cli.output import show

NAME = "folkmoot"
SYSTEM = Path("/etc/systemd/system")
_SYSTEMCTL_S = 60.0
DRAIN_S = 60  # for answers that run when the service is stopped


def register(commands: Any) -> None:
    command = commands.add_parser("service")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("install", "write the unit"), ("uninstall", "remove the unit"), ("show", "print the unit"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument(
            "--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)",
        )
        action.add_argument("--system", action="store_true", help="a unit of the system, not of this user")
        action.add_argument("--user", metavar="NAME", help="who runs it, for --system (default: the folder's owner)")
        action.add_argument("--name", default=NAME, help="of the unit (default: %(default)s)")
        if name != "show":
            action.add_argument("--now", action="store_true", help="tell systemd too: start it, or stop it first")
        action.set_defaults(run={"install": _install, "uninstall": _uninstall, "show": _show}[name])


def unit(directory: Path, program: str, user: str | None) -> str:
    """The text of the unit. program: what starts `folkmoot`. user: of a unit of the system; None: of the user's own.

    A user's manager may not set up all that a system's can, so its unit asks for what it can give.
    """
    hardening = _COMMON if user is None else _COMMON + _SYSTEM_ONLY + _caches(directory)
    rows = [
        "[Unit]", "Description=Folkmoot peer",
        *(["Wants=network-online.target", "After=network-online.target"] if user is not None else []),
        "", "[Service]", "Type=exec", *([f"User={user}"] if user is not None else []),
        f"ExecStart={program} serve --dir {_quoted(directory)} --drain-limit {DRAIN_S}",
        "# on SIGTERM the peer finishes its answers first; a model server needs a moment more",
        "KillSignal=SIGTERM", f"TimeoutStopSec={DRAIN_S + 30}", "Restart=on-failure", "RestartSec=5",
        "# wrong settings (2) and a store that must not be written (6) are not cured by another start",
        "RestartPreventExitStatus=2 6", "LimitNOFILE=65536", "UMask=0077", f"ReadWritePaths={_quoted(directory)}",
        *hardening, "", "[Install]", f"WantedBy={'multi-user.target' if user is not None else 'default.target'}", "",
    ]
    return "\n".join(rows)


_COMMON = [
    "NoNewPrivileges=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK", "RestrictNamespaces=yes",
    "RestrictRealtime=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes", "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
]
# /home stays readable: models lie there. GPUs are devices, so PrivateDevices stays off, and engines write code to run.
# /tmp stays the machine's: the lock of a key and the control socket of a folder with a long name are there.
_SYSTEM_ONLY = [
    "ProtectSystem=strict", "ProtectHome=read-only", "ReadWritePaths=/tmp", "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes", "ProtectClock=yes",
    "ProtectHostname=yes", "ProtectProc=invisible", "CapabilityBoundingSet=", "AmbientCapabilities=",
]


def _caches(directory: Path) -> list[str]:
    """Where engines keep what they compile: the user's home is read-only."""
    places = (("VLLM_CACHE_ROOT", "vllm"), ("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton"))
    return [f"Environment={_quoted(Path(f'{name}={directory}/cache/{place}'))}" for name, place in places]


def _quoted(path: Path) -> str:
    """A path as systemd reads it. Raises ConfigError for one that it cannot."""
    text = str(path)
    if not text.isprintable() or '"' in text or "\\" in text:
        raise ConfigError(f"{text!r} cannot be named in a unit; give a folder with a plainer name", field="dir")
    text = text.replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if " " in text else text


def program() -> str:
    """The installed command, by its whole path; else this Python with the package."""
    found = Path(sys.argv[0]).resolve() if Path(sys.argv[0]).name == "folkmoot" else None
    if found is None or not os.access(found, os.X_OK):
        beside = Path(sys.executable).with_name("folkmoot")
        found = beside if exists(beside) else None
    if found is not None:
        return _quoted(found)
    return f"{_quoted(Path(sys.executable))} -m p2p"


def _text(options: argparse.Namespace) -> str:
    directory = options.dir.absolute()
    user = None
    if options.system:
        user = options.user or _owner(directory)
    elif options.user:
        raise ConfigError("a unit of your own runs as you; --user is for --system", field="user")
    return unit(directory, program(), user)


def _owner(directory: Path) -> str:
    try:
        return pwd.getpwuid(directory.stat().st_uid).pw_name
    except (OSError, KeyError) as error:
        raise ConfigError(f"{directory} does not exist, or its owner has no name; name one", field="user") from error


def _file(options: argparse.Namespace) -> Path:
    if not options.name or "/" in options.name or not options.name.isprintable():
        raise ConfigError("give a plain name", field="name")
    base = SYSTEM if options.system else _user_units()
    return base / f"{options.name}.service"


def _user_units() -> Path:
    own = os.environ.get("XDG_CONFIG_HOME")
    return (Path(own) if own else Path.home() / ".config") / "systemd" / "user"


def _show(options: argparse.Namespace) -> int:
    text = _text(options)
    show(options, {"file": str(_file(options)), "unit": text}, lambda: text.rstrip())
    return 0


def _install(options: argparse.Namespace) -> int:
    """Raises ConfigError for a folder without settings, StorageError where the unit cannot be written."""
    if not exists(options.dir / "config.toml"):
        raise ConfigError(f"{options.dir} is no peer's folder; make it with: folkmoot join NETWORK", field="dir")
    file, text = _file(options), _text(options)
    scratch = file.with_suffix(".service.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text)
        scratch.chmod(0o644)  # systemd warns of units that nobody else may read
        scratch.replace(file)
    except OSError as error:
        raise _refused(error, "write", file) from error
    after = _commands(options, file.name)
    if options.now:
        _tell(after)
    show(options, {"file": str(file), "commands": after}, lambda: _said(f"written: {file}", after, options.now))
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    """Raises ConfigError where there is none."""
    file = _file(options)
    if not exists(file):
        raise ConfigError(f"{file} does not exist: nothing to remove", field="name")
    manager = ["systemctl"] + ([] if options.system else ["--user"])
    before = [[*manager, "disable", "--now", file.name]]
    if options.now:
        _tell(before)
    try:
        file.unlink()
    except OSError as error:
        raise _refused(error, "remove", file) from error
    rest = [*([] if options.now else before), [*manager, "daemon-reload"]]
    show(options, {"file": str(file), "commands": rest}, lambda: _said(f"removed: {file}", rest, done=False))
    return 0


def _commands(options: argparse.Namespace, name: str) -> list[list[str]]:
    manager = ["systemctl"] + ([] if options.system else ["--user"])
    found = [[*manager, "daemon-reload"], [*manager, "enable", "--now", name]]
    return found if options.system else [*found, ["loginctl", "enable-linger"]]  # else it ends when the user leaves


def _said(first: str, commands: list[list[str]], done: bool) -> str:
    head = "done:" if done else "then:"
    return "\n".join([first, *(f"{head} {' '.join(words)}" for words in commands)])


def _tell(commands: list[list[str]]) -> None:
    """Raises Unavailable with what systemd said."""
    for words in commands:
        if shutil.which(words[0]) is None:
            raise Unavailable(f"{words[0]} is not here: this system does not run systemd", field="now")
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SYSTEMCTL_S, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[:300]
            if "connect to bus" in said:
                said += "; no systemd runs for this user here: log in as it, or use --system as root, or start " \
                    "`folkmoot serve` by other means"
            raise Unavailable(f"{' '.join(words)}: {said or f'exit status {done.returncode}'}", field="now")


def _refused(error: OSError, doing: str, file: Path) -> ConfigError | StorageError:
    found = failure(error, doing, file, "dir")
    assert isinstance(found, ConfigError | StorageError)
    return found
