"""Reads the parameters that all APIs share: sampling, bounds, bias, stop strings, grammars.

Law: a number is used as it was sent, rounded to thousandths, or refused. top_p below 1 without a top_k means the
nucleus within the MAX_TOP_K likeliest tokens: a validator sees no more (base/sampling_params.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from p2p.base.body import BIAS_MILLI, Grammar, GrammarKind
from p2p.base.closed_schema import closed_schema
from p2p.base.errors import InvalidRequest
from p2p.base.plain_schema import plain_schema
from p2p.base.serving_limits import (
    MAX_ANSWERS,
    MAX_BIASES,
    MAX_GRAMMAR,
    MAX_OUTPUT_TOKENS,
    MAX_STOP,
    MAX_STOPS,
    MAX_TOP_K,
    MAX_VOCABULARY,
    TOP_RANKS,
)
from p2p.base.types import Params
from p2p.gateway.core.fields import Fields, Refused, as_json

_NONE_ASKED: tuple[object, ...] = (False, 0, [], {}, "")
# Parameters of other servers that would change the answer. Each API adds its own.
REFUSED: Refused = {
    "best_of": ((1,), "use n, and choose among the answers"),
    "use_beam_search": ((False,), "answers are sampled; use n"),
    "length_penalty": ((1, 1.0), "it belongs to beam search"),
    "stop_token_ids": (([],), "use stop with the tokens' text"),
    "include_stop_str_in_output": ((False,), "append the stop string yourself"),
    "skip_special_tokens": ((True,), "special tokens are never shown"),
    "spaces_between_special_tokens": ((True, False), "special tokens are never shown"),
    "truncate_prompt_tokens": (_NONE_ASKED, "shorten the prompt yourself"),
    "prompt_logprobs": (_NONE_ASKED, "only tokens of the answer have log-probabilities"),
    "allowed_token_ids": (([],), "use a grammar (guided_regex, guided_choice) or logit_bias"),
    "bad_words": (([],), "use logit_bias with -100"),
    "logits_processors": (([],), "use logit_bias or a grammar"),
    "typical_p": ((1, 1.0), "use top_p, top_k or min_p"),
    "top_a": ((0, 0.0), "use min_p"),
    "tfs": ((1, 1.0), "use top_p, top_k or min_p"),
    "mirostat": ((0,), "use temperature with min_p"),
    "dry_multiplier": ((0, 0.0), "use repetition_penalty or frequency_penalty"),
    "xtc_probability": ((0, 0.0), "use temperature"),
    "repeat_penalty": ((1, 1.0), "use repetition_penalty"),
    "random_seed": ((), "use seed"),
    "n_predict": ((), "use max_tokens"),
    "num_predict": ((), "use max_tokens"),
    "grammar": (("",), "use structured_outputs.grammar"),
    "json_schema": ((), "use response_format"),
    "return_token_ids": ((False,), "use logprobs for each token"),
    "add_special_tokens": ((True,), "the model's own files say which special tokens begin a prompt"),
    "chat_template": (("",), "the template is the model's own; for another one use /v1/completions"),
    "documents": (([],), "put them into a message"),
    "guided_whitespace_pattern": (("",), "blanks are at most one after each comma and colon"),
    "mm_processor_kwargs": (({},), "models here read text only"),
    "models": (([],), "name one model in `model`"),
    "route": (("",), "name one model in `model`"),
    "transforms": (([],), "shorten the prompt yourself"),
}


@dataclass(frozen=True, slots=True)
class Sampled:
    """The sampling of a request."""

    params: Params
    seed: int | None
    ignore_eos: bool


def read_sampling(body: Fields, temperature: float = 1.0) -> Sampled:
    """Sampling parameters under the names that OpenAI's API and vLLM use. temperature: where none is sent."""
    top_p = body.number("top_p", 0, 1)
    top_k = body.whole("top_k", -1, 1 << 20)
    chosen_k = max(top_k or 0, 0)
    if top_p is not None and top_p < 1:
        if chosen_k > MAX_TOP_K:
            raise body.wrong("top_k", f"must be from 1 to {MAX_TOP_K} where top_p is below 1, not {chosen_k}")
        chosen_k = chosen_k or MAX_TOP_K
    repetition = body.number("repetition_penalty", 0.1, 10)
    params = Params(
        temperature_milli=_milli(body.number("temperature", 0, 2), temperature),
        top_k=chosen_k,
        min_p_milli=_milli(body.number("min_p", 0, 1), 0),
        top_p_milli=_milli(top_p, 1),
        presence_milli=_milli(body.number("presence_penalty", -2, 2), 0),
        frequency_milli=_milli(body.number("frequency_penalty", -2, 2), 0),
        repetition_milli=_milli(repetition, 1),
        min_tokens=body.whole("min_tokens", 0, MAX_OUTPUT_TOKENS) or 0,
    )
    return Sampled(params, body.whole("seed"), body.flag("ignore_eos"))


def read_max_tokens(body: Fields, names: Sequence[str]) -> int | None:
    """The bound on the answer's tokens, by the first of these names that is there."""
    found = next((name for name in names if body.has(name)), None)
    most = None if found is None else body.whole(found, 1)
    least = body.whole("min_tokens", 0, MAX_OUTPUT_TOKENS) or 0
    if most is not None and least > most:
        raise body.wrong("min_tokens", f"is {least}, above {found} ({most})")
    return most


def read_choices(body: Fields, prompts: int = 1) -> int:
    """`n`: answers to each prompt."""
    found = body.whole("n", 1, MAX_ANSWERS)
    n = 1 if found is None else found
    if n * prompts > MAX_ANSWERS:
        raise body.wrong("n", f"{prompts} prompts with n = {n} are more than {MAX_ANSWERS} answers; send less at once")
    return n


def read_stop(body: Fields, name: str = "stop", most: int = MAX_STOPS) -> tuple[str, ...]:
    """Stop strings: one text or a list."""
    found = body.raw(name)
    if found is None:
        return ()
    if isinstance(found, str):
        items: list[tuple[str, Any]] = [(body.at(name), found)] if found else []
    else:
        items = body.items(name, most)
    for path, stop in items:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP:
            raise InvalidRequest(f"must be a text of 1 to {MAX_STOP} characters", field=path)
    return tuple(stop for _, stop in items)


def read_bias(body: Fields) -> tuple[tuple[int, int], ...]:
    """`logit_bias`: token ids as texts to numbers from -100 to 100, as thousandths of a nat by ascending id."""
    biases = body.inner("logit_bias")
    if biases is None:
        return ()
    if len(biases.plain) > MAX_BIASES:
        raise body.wrong("logit_bias", f"has {len(biases.plain)} tokens; {MAX_BIASES} are allowed")
    found: dict[int, int] = {}
    for token in biases.plain:
        if not (token.isascii() and token.isdigit() and len(token) < 8 and int(token) < MAX_VOCABULARY):
            raise biases.wrong(token[:20], "is no token id; the names in logit_bias are whole numbers")
        value = biases.number(token, -BIAS_MILLI / 1000, BIAS_MILLI / 1000)
        if int(token) in found:
            raise biases.wrong(token, "the token is named twice")
        found[int(token)] = _milli(value, 0)
    return tuple(sorted((token, milli) for token, milli in found.items() if milli))


def read_top_logprobs(body: Fields, name: str, api_most: int) -> int | None:
    """How many alternatives are shown of each token. api_most: what the API itself allows."""
    found = body.whole(name, 0, api_most)
    if found is not None and found > TOP_RANKS:
        raise body.wrong(name, f"an answer holds the {TOP_RANKS} likeliest tokens of each position; ask for at most "
                               f"{TOP_RANKS}, not {found}")
    return found


def schema_grammar(schema: Any, path: str) -> Grammar:
    """The grammar of a JSON schema. Objects have no properties but those that are named (base/closed_schema.py)."""
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("must be a JSON schema: an object", field=path)
    return _grammar(GrammarKind.JSON_SCHEMA, as_json(closed_schema(plain_schema(schema))), path)


def read_response_format(body: Fields, name: str = "response_format") -> Grammar | None:
    """OpenAI's response_format: text, json_object, or json_schema with the schema inside `json_schema`. Also with the
    schema beside the type, as llama.cpp and others take it."""
    form = body.inner(name)
    if form is None:
        return None
    kind = form.one_of("type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    if form.has("schema"):
        return schema_grammar(form.raw("schema"), form.at("schema"))
    if kind == "json_object":
        return Grammar(GrammarKind.JSON_OBJECT, "")
    schema = form.inner("json_schema")
    if schema is None or not schema.has("schema"):
        raise form.wrong("json_schema.schema", "is missing")
    return schema_grammar(schema.raw("schema"), schema.at("schema"))


def read_guided(body: Fields) -> Grammar | None:
    """vLLM's structured_outputs {json, json_object, regex, choice, grammar}, or the older guided_* parameters."""
    outer = body.inner("structured_outputs")
    found = []
    for holder, prefix in ((outer, ""), (body, "guided_")):
        if holder is not None:
            for name, kind in _GUIDED.items():
                if holder.raw(prefix + name) not in (None, False):
                    found.append(_guided(holder, prefix + name, kind))
    if len(found) > 1:
        raise body.wrong("structured_outputs", "an answer has one grammar; send one of json, regex, choice, grammar")
    return found[0] if found else None


_GUIDED = {
    "json": GrammarKind.JSON_SCHEMA, "json_object": GrammarKind.JSON_OBJECT, "regex": GrammarKind.REGEX,
    "choice": GrammarKind.CHOICE, "grammar": GrammarKind.LARK,
}


def _guided(holder: Fields, name: str, kind: GrammarKind) -> Grammar:
    path = holder.at(name)
    if kind is GrammarKind.JSON_OBJECT:
        return Grammar(kind, "")
    if kind is GrammarKind.JSON_SCHEMA:
        found = holder.raw(name)
        return _grammar(kind, found, path) if isinstance(found, str) else schema_grammar(found, path)
    if kind is GrammarKind.CHOICE:
        items = holder.items(name, MAX_BIASES)
        if not items or not all(isinstance(one, str) and one for _, one in items):
            raise InvalidRequest("must be a list of texts", field=path)
        return _grammar(kind, as_json([one for _, one in items]), path)
    return _grammar(kind, holder.need_text(name), path)


def _grammar(kind: GrammarKind, source: str, path: str) -> Grammar:
    if len(source) > MAX_GRAMMAR:
        raise InvalidRequest(f"has {len(source)} characters; {MAX_GRAMMAR} are allowed", field=path)
    return Grammar(kind, source)


def _milli(value: float | None, default: float) -> int:
    return round(1000 * (default if value is None else value))
