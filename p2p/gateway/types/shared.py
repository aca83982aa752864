"""What callers may say beside the body, and what all APIs read the same way. Law: as in core/fields.py."""

from __future__ import annotations

from collections.abc import Mapping

from p2p.base.errors import InvalidRequest
from p2p.gateway.core.fields import Fields
from p2p.gateway.core.request import Calling
from p2p.gateway.types.content import metadata_session

Headers = Mapping[str, str]  # lower-case names
SESSION_HEADER = "x-folkmoot-session"
PRICE_HEADER = "x-folkmoot-max-price"
MAX_KEY = 512  # characters of a conversation's name
_FORMS = ("response_format", "text", "output_config", "output_format", "structured_outputs", "guided_json",
          "guided_regex", "guided_grammar", "guided_choice")
_MAX_PRICE = 2**63 - 1  # micro-credits


def session_key(body: Fields, headers: Headers) -> str:
    """The caller's own name of the conversation: header, prompt_cache_key, metadata, user; "" for none."""
    found = headers.get(SESSION_HEADER) or body.text("prompt_cache_key") or metadata_session(body) or body.text("user")
    if len(found) > MAX_KEY:
        raise InvalidRequest(f"the conversation's name has more than {MAX_KEY} characters", field="prompt_cache_key")
    return found


def max_price(headers: Headers) -> int | None:
    """What a token may cost at most, in micro-credits, where the caller bounds it."""
    text = headers.get(PRICE_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= _MAX_PRICE):
        raise InvalidRequest("must be a whole number of micro-credits above 0", field=PRICE_HEADER)
    return int(text)


def form_field(body: Fields, calling: Calling) -> str:
    """The parameter of which the answer's grammar was made."""
    calls = "functions" if body.has("functions") else "tools"
    return calls if calling is Calling.REQUIRED else next(filter(body.has, _FORMS), calls)


def include_usage(body: Fields) -> bool:
    """Whether the stream's last chunk has the usage."""
    options = body.inner("stream_options")
    return options is not None and options.flag("include_usage")


def without_effect(body: Fields, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of these parameters that were sent: they are accepted, and nothing here can follow them."""
    return tuple(body.at(name) for name in names if body.raw(name) not in (None, {}, []))
