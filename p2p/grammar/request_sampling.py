"""How the answer to one request is sampled: from its parameters, its body and its model's registry entry.

Law: executor, validator and `folkmoot verify` call this one function, so they replay the same mechanism.
"""

from __future__ import annotations

from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer

from p2p.base.body import Body
from p2p.base.types import Params
from p2p.verification.sampling import Sampling

MILLI = 1000.0


def request_sampling(
    params: Params, body: Body, ends: frozenset[int], tokenizer: bytes | None, vocabulary: int
) -> Sampling:
    """ends: token ids that end an answer. tokenizer: the model's tokenizer.json, which a grammar needs. vocabulary: the
    registry's. Raises InvalidRequest(field='grammar') for a grammar that cannot be used, ConfigError without the
    tokenizer that it needs."""
    bias = {token: milli / MILLI for token, milli in body.bias}
    grammar = None
    if body.grammar is not None:
        compiled = compile_grammar(body.grammar, GrammarTokenizer.from_json(tokenizer or b"", ends, vocabulary))
        grammar = compiled.begin
    return Sampling(params, ends, bias, grammar, body.begun_tokens)
