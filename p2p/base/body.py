"""What is asked: the body of a request, which its `body_hash` covers.

Law: data only; no template, tokenizer or engine. The request itself goes on chain and stays small; the body travels
with Ask, Forward and Payload. Every side makes the same tokens of it from the model's own files (p2p/text).

An API's own words (`tool_choice`, `response_format`, `stop`) are translated before they are signed: how the answer
must look is one `Grammar`, whoever asked for it (decision 056).
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar

from msgspec import Meta

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.keys import digest
from p2p.base.limits import MAX_NAME
from p2p.base.serving_limits import (
    MAX_BIASES,
    MAX_BODY,
    MAX_CALLS,
    MAX_GRAMMAR,
    MAX_MESSAGES,
    MAX_STOP,
    MAX_STOPS,
    MAX_TEMPLATE_ARGS,
    MAX_TOOLS,
    MAX_VOCABULARY,
)
from p2p.base.token_ids import TOKEN_BYTES, unpack_ids

BIAS_MILLI = 100_000  # largest bias, thousandths of a nat: as OpenAI's logit_bias, it bans or forces a token

Text = Annotated[str, Meta(max_length=MAX_BODY)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]
StopText = Annotated[str, Meta(min_length=1, max_length=MAX_STOP)]
TokenId = Annotated[int, Meta(ge=0, lt=MAX_VOCABULARY)]


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolCall(Message, frozen=True):
    """A call that the assistant made."""

    id: Name
    name: Name
    arguments: Text  # JSON, as the model wrote it


class ChatMessage(Message, frozen=True):
    """One message of a conversation."""

    role: Role
    content: Text
    calls: Annotated[tuple[ToolCall, ...], Meta(max_length=MAX_CALLS)] = ()  # of an assistant's message
    call_id: Name = ""  # of a tool's message: which call it answers
    name: Name = ""  # of whoever speaks


class Tool(Message, frozen=True):
    """A function that the model may call."""

    name: Name
    description: Text
    parameters: Text  # JSON Schema, as JSON


class Chat(Message, frozen=True, tag="chat"):
    """A conversation, for the model's chat template."""

    messages: Annotated[tuple[ChatMessage, ...], Meta(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[tuple[Tool, ...], Meta(max_length=MAX_TOOLS)] = ()  # shown to the template
    template_args: Annotated[str, Meta(max_length=MAX_TEMPLATE_ARGS)] = ""  # JSON object of more variables, or ""
    continues: bool = False  # the last message is the beginning of the answer: no new turn is begun


class TextPrompt(Message, frozen=True, tag="text"):
    """A text that the model continues, without a template."""

    text: Text


class TokenPrompt(Message, frozen=True, tag="tokens"):
    """Token ids that the model continues."""

    ids: Annotated[bytes, Meta(min_length=TOKEN_BYTES, max_length=MAX_BODY)]  # packed (base/token_ids.py)

    @property
    def tokens(self) -> tuple[int, ...]:
        return unpack_ids(self.ids, "prompt")


class GrammarKind(StrEnum):
    """How a grammar is written."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"  # any JSON object; the source is empty
    REGEX = "regex"
    CHOICE = "choice"  # a JSON array of texts, one of which is the answer
    LARK = "lark"  # llguidance's dialect of Lark


class Grammar(Message, frozen=True):
    """How the answer must look. Tokens that lead out of it are not allowed (p2p/grammar)."""

    kind: GrammarKind
    source: Annotated[str, Meta(max_length=MAX_GRAMMAR)]


class Body(Message, frozen=True):
    """Everything that decides the answer, besides the model and the sampling parameters."""

    BYTES: ClassVar[int] = MAX_BODY
    ITEMS: ClassVar[int] = 16 * MAX_MESSAGES + 8 * MAX_TOOLS + 4 * MAX_BIASES + 64

    prompt: Chat | TextPrompt | TokenPrompt
    # The answer ends with the token that completes the first of these; what is shown ends before it.
    stop: Annotated[tuple[StopText, ...], Meta(max_length=MAX_STOPS)] = ()
    # (token id, thousandths of a nat that are added to its log-probability), ids ascending.
    bias: Annotated[
        tuple[tuple[TokenId, Annotated[int, Meta(ge=-BIAS_MILLI, le=BIAS_MILLI)]], ...], Meta(max_length=MAX_BIASES),
    ] = ()
    grammar: Grammar | None = None
    # Output tokens of an earlier request whose answer this one continues, packed (base/token_ids.py). They are charged
    # as a part of the prompt. The answer's positions go on after them, and stop strings, penalties and grammar count
    # them.
    begun: Annotated[bytes, Meta(max_length=MAX_BODY // 2)] = b""

    @property
    def begun_tokens(self) -> tuple[int, ...]:
        return unpack_ids(self.begun, "begun")

    @property
    def hash(self) -> bytes:
        """What a request signs."""
        return body_hash(encode(self))


def one_message(text: str) -> Body:
    """A conversation of one user message."""
    return Body(Chat((ChatMessage(Role.USER, text),)))


def body_hash(raw: bytes) -> bytes:
    """Hash of an encoded body, 32 bytes."""
    return digest(b"body", raw)


def open_body(raw: bytes, wanted: bytes) -> Body:
    """The body in `raw`, if it is the one whose hash is `wanted`. Raises InvalidRequest(field='body' | 'body_hash' |
    the part that is wrong)."""
    if body_hash(raw) != wanted:
        raise InvalidRequest("the body is not the one whose hash was signed", field="body_hash")
    try:
        body = unpack(Body, raw)
    except RemoteProtocolError as error:
        raise InvalidRequest(f"the body cannot be read: {error.message}", field=error.field or "body") from error
    check_body(body)
    return body


def check_body(body: Body, empty: str = "messages") -> None:
    """What must hold between a body's parts. Raises InvalidRequest that names the field. empty: the field where nothing
    is asked."""
    prompt = body.prompt
    if isinstance(prompt, Chat):
        _check_chat(prompt, empty)
    elif isinstance(prompt, TokenPrompt):
        if len(prompt.ids) % TOKEN_BYTES:
            raise InvalidRequest(f"token ids have {TOKEN_BYTES} bytes each", field="prompt")
    elif not prompt.text:
        raise InvalidRequest("the prompt is empty; ask something", field="prompt")
    if len(body.begun) % TOKEN_BYTES:
        raise InvalidRequest(f"token ids have {TOKEN_BYTES} bytes each", field="begun")
    ids = [token for token, _ in body.bias]
    if any(after <= before for before, after in pairwise(ids)):
        raise InvalidRequest("the biases must name ascending token ids, each once", field="bias")


def _check_chat(chat: Chat, empty: str) -> None:
    for at, message in enumerate(chat.messages):
        if message.calls and message.role is not Role.ASSISTANT:
            raise InvalidRequest("only the assistant calls tools", field=f"messages[{at}].calls")
        if message.role is Role.TOOL and not message.call_id:
            raise InvalidRequest("a tool's message names the call that it answers", field=f"messages[{at}].call_id")
    last = chat.messages[-1]
    if chat.continues and last.role is not Role.ASSISTANT:
        raise InvalidRequest("only an assistant's message can be continued", field="continues")
    if not chat.tools and not any(message.content.strip() or message.calls for message in chat.messages):
        raise InvalidRequest("nothing is asked: every message is empty", field=empty)
    names = [tool.name for tool in chat.tools]
    if len(set(names)) < len(names):
        raise InvalidRequest("two tools have one name", field="tools")
