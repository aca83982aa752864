"""Takes secrets and words of users out of what a report of a fault holds.

Law: pure, and it lets through only what is known to be harmless: names of settings, numbers, ids, addresses, our own
sentences without what they quote. Whatever else comes is replaced by how long it was.

Three walls stand behind each other: a secret that is known is replaced in every form in which it may be written; what
looks like a secret is; and free text of others is not taken at all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from p2p.machine.foreign_text import line

GONE = "<secret>"
MAX_SENTENCE = 300
_LOOKS = (  # what looks like a secret, whoever wrote it
    re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), re.compile(r"\bsk-[\w-]{8,}"),
    re.compile(r"(?i)\b(api[_-]?key|authorization|token|secret|password|passphrase|passwd)\b(\s*[=:]\s*|\s+)[^\s,;]+"),
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|$)", re.S),
    re.compile(r"(?<=://)[^/\s@]+@"),  # name and password in a URL
)
_SECRET_NAME = re.compile(r"(?i)key$|secret|password|passphrase|token$|auth|credential|cookie")
_HARMLESS = re.compile(r"[\w.:/@+=,\[\]()#*-]{0,200}")  # one word: an id, an address, a path, a state
_QUOTED = re.compile(r"'[^']*'?|\"[^\"]*\"?|`[^`]*`?|\u201c[^\u201d]*\u201d?")
_FIELD = re.compile(r" ([A-Za-z_]\w{0,60})=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S*)")
_OURS = ("p2p", "bootstrap", "testnet")  # loggers whose words are of this program
_FREE = frozenset({  # fields that may hold what users say, whatever they look like
    "prompt", "text", "body", "content", "message", "messages", "question", "answer", "stop", "begun", "trace", "args",
    "argv", "metadata", "stderr", "stdout", "line", "raw",
})
_SENTENCES = frozenset({  # fields that hold sentences of this program
    "reason", "why", "said", "alone", "twin", "last", "clock", "error", "like",
})
_LOG_LINE = re.compile(r"(\S+) (debug|info|warning|error|critical) (.*)", re.S)


class Redactor:
    """secrets: the bytes of keys and tokens that are known."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        forms = {form for secret in secrets if len(secret.strip()) >= 6 for form in _forms(secret.strip())}
        self._forms = sorted(forms, key=len, reverse=True)

    def known(self, text: str) -> str:
        """`text` without the known secrets, and without what looks like one."""
        for form in self._forms:
            text = text.replace(form, GONE)
        for look in _LOOKS:
            text = look.sub(GONE, text)
        return text

    def sentence(self, text: str) -> str:
        """One of our sentences, without what it quotes, and without what follows a colon: what another program, or a
        peer, said."""
        head, colon, _ = _QUOTED.sub("<...>", text).partition(": ")
        return self.known(line(head, MAX_SENTENCE)) + (": <...>" if colon else "")

    def value(self, name: str, value: Any) -> Any:
        """A value under its name: numbers and harmless words as they are, sentences without what they quote."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self.known(str(key)[:200]): self.value(str(key), one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(name, one) for one in value]
        text = str(value)
        if name.lower() in _FREE or _SECRET_NAME.search(name):
            return _left_out(text)
        if _HARMLESS.fullmatch(text):
            return self.known(text)
        return self.sentence(text) if name.lower() in _SENTENCES else _left_out(text)

    def settings(self, table: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Settings: those that are known by name, and nothing that a flag sets which sounds like a secret."""
        known = set(names)
        found: dict[str, Any] = {}
        for name, value in table.items():
            if name not in known:
                found[self.known(str(name)[:60])] = "<unknown setting>"
            elif name.endswith("flags"):
                found[name] = [self._flag(str(one)) for one in value] if isinstance(value, list) else "<left out>"
            elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
                found[name] = [{k: self._setting(k, v) for k, v in one.items()} for one in value]
            else:
                found[name] = self._setting(name, value)
        return found

    def _setting(self, name: str, value: Any) -> Any:
        """A file's name is no secret, and a setting ends in _key where it names one."""
        if name.endswith(("_key", "key_file")) and isinstance(value, str):
            return "<a file>"
        if name.endswith("flags"):
            return [self._flag(str(one)) for one in value] if isinstance(value, list) else "<left out>"
        return self.value(name, value)

    def _flag(self, flag: str) -> str:
        name, equals, value = flag.partition("=")
        if not name.startswith("-") or _SECRET_NAME.search(name):
            return self.known(f"{name[:60]}={GONE}") if name.startswith("-") else _left_out(flag)
        return f"{self.known(name[:60])}{equals}{self.value(name, value)}"

    def log_line(self, text: str) -> str:
        """One line of the peer's log, in either format."""
        if text.startswith("{"):
            try:
                event = json.loads(text)
            except ValueError:
                return _left_out(text)
            return json.dumps(self._event(event)) if isinstance(event, dict) else _left_out(text)
        found = _LOG_LINE.fullmatch(text.rstrip("\n"))
        if found is None:
            return _left_out(text)
        at, level, rest = found.groups()
        fields = {name: _unquoted(value) for name, value in _FIELD.findall(f" {rest}")}
        words = _FIELD.split(f" {rest}", maxsplit=1)[0].strip()
        event = self._event({"time": at, "level": level, "event": words, **fields})
        shown = " ".join(f"{name}={value!r}" for name, value in event.items() if name not in ("time", "level", "event"))
        return f"{event['time']} {level} {event['event']} {shown}".rstrip()

    def _event(self, event: dict[str, Any]) -> dict[str, Any]:
        logger = str(event.get("logger", "p2p"))
        is_ours = logger.split(".")[0] in _OURS
        found: dict[str, Any] = {}
        for name, value in event.items():
            if name == "event":
                found[name] = self.sentence(str(value)) if is_ours else _left_out(str(value))
            else:
                found[self.known(str(name)[:60])] = self.value(str(name), value)
        return found

    def log(self, lines: Sequence[str]) -> str:
        return "".join(self.log_line(one) + "\n" for one in lines)


def _left_out(text: str) -> str:
    return f"<{len(text)} characters left out>"


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def _forms(secret: bytes) -> set[str]:
    """How a secret may be written: as it is, its bytes in hexadecimal, base64, base58 and as a Python literal."""
    import base58

    found = {secret.decode("utf-8", "replace")}
    raws = {secret}
    with contextlib.suppress(ValueError):  # it is not hexadecimal
        raws.add(bytes.fromhex(secret.decode("ascii")))
    for raw in raws:
        found |= {raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode().rstrip("="), repr(raw)[2:-1]}
        found |= {base64.urlsafe_b64encode(raw).decode().rstrip("="), base58.b58encode(raw).decode()}
    return {form for form in found if len(form) >= 6}
