"""How the answer to one request is sampled: from its parameters, its body and its model's registry entry.

Law: executor, validator and `folkmoot verify` call this one function, so they replay the same mechanism.
"""

from __future__ import annotations

from p2p.base.body import Body
from p2p.base.errors import InvalidRequest
from p2p.base.types import Params
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.verification.sampling import Sampling

MILLI = 1000.0


def request_sampling(
    params: Params, body: Body, ends: frozenset[int], tokenizer: bytes | None, vocabulary: int, *, patient: bool = False
) -> Sampling:
    """ends: token ids that end an answer. tokenizer: the model's tokenizer.json, which a grammar needs. vocabulary: the
    registry's. patient: for validators (compile_grammar). A new grammar takes 0.1 s to some seconds: call it in a
    thread. Raises InvalidRequest(field='grammar') for a grammar that cannot be used, (field='begun') for a
    beginning that cannot be continued, ConfigError without the tokenizer that a grammar needs, Unavailable where a
    grammar cannot be tried."""
    bias = {token: milli / MILLI for token, milli in body.bias}
    grammar = None
    if body.grammar is not None:
        tokens = GrammarTokenizer.from_json(tokenizer or b"", ends, vocabulary)
        compiled = compile_grammar(body.grammar, tokens, patient=patient)
        grammar = compiled.begin
    found = Sampling(params, ends, bias, grammar, body.begun_tokens)
    if found.begun and (found.begin().broken_at is not None or ends & set(found.begun)):
        raise InvalidRequest("what is begun breaks the grammar, or has ended: it cannot be continued", field="begun")
    return found
