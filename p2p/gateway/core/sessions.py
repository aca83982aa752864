"""Which conversation a request belongs to, so that its executors are those of the turns before (decision 057).

Law: at most MAX_GATEWAY_SESSIONS conversations are remembered, the least used is forgotten first. A caller's words name
a conversation on this machine only; what the network sees is random.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from p2p.base.body import Chat, Role, TextPrompt
from p2p.base.keys import digest
from p2p.base.serving_limits import MAX_GATEWAY_SESSIONS
from p2p.gateway.core.request import GatewayRequest, Prompt

_BEGINNING = 2048  # characters of a text whose continuations count as one conversation


class Sessions:
    """The conversations of one gateway."""

    def __init__(self, new: Callable[[], object]) -> None:
        """new: makes what the backend remembers of a conversation."""
        self._new = new
        self._kept: OrderedDict[bytes, object] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, request: GatewayRequest) -> object:
        """The conversation of a request: the caller's name for it, or else its beginning."""
        key = key_of(request)
        found = self._kept.pop(key, None)
        self._kept[key] = found = self._new() if found is None else found
        if len(self._kept) > MAX_GATEWAY_SESSIONS:
            self._kept.popitem(last=False)
        return found


def key_of(request: GatewayRequest) -> bytes:
    """32 bytes that are the same for all turns of a conversation, and differ by model."""
    name = request.session_key.encode()
    parts = [b"named", name] if name else [b"begins", *(part.encode() for part in _beginning(request.prompts[0]))]
    return digest(b"gateway-session", request.model.encode(), *(digest(part) for part in parts))


def _beginning(prompt: Prompt) -> list[str]:
    """What later turns repeat: everything up to the first words of the user."""
    if isinstance(prompt, Chat):
        first = next((at for at, one in enumerate(prompt.messages) if one.role is Role.USER), 0)
        return [one.content for one in prompt.messages[: first + 1]]
    return [prompt.text[:_BEGINNING] if isinstance(prompt, TextPrompt) else prompt.ids[:_BEGINNING].hex()]
