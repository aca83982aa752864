"""`python trial.py CPU_S MEMORY`: tries one grammar in a process of its own. Law: it imports nothing of ours, and dies
of a grammar so that the peer need not.

llguidance bounds much of its work, but not all: sixteen lines of Lark can cost minutes or all memory, which ends the
process. This one has CPU_S seconds of CPU and MEMORY bytes of address space. It reads the grammar from standard input,
compiles it over single bytes, walks some ways through it, and writes one JSON line. trying.py starts it.
"""

import json
import random
import resource
import sys

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

# What llguidance may do. A mask is a function of these too, so they are the same for everybody.
LIMITS = {
    "max_items_in_row": 2000,  # 500 optional properties
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,  # 14 ms
    "step_max_items": 50_000,
    "max_lexer_states": 100_000,  # 0.5 KiB each; a text of bounded length takes one a byte
    "max_grammar_size": 100_000,
    "precompute_large_lexemes": False,
    "verbose_errors": False,
}
WALKS, STEPS = 4, 250  # ways through the grammar, and bytes of each
_CLOSING = b"\"',:;)]}\n"  # bytes that lead on: else a walk stays in the first text


def attempt(lark: str) -> str:
    """'' for a grammar that works, else why it does not."""
    tokenizer = LLTokenizer("byte")
    first = LLMatcher(
        tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LLParserLimits(**LIMITS)  # type: ignore[arg-type]
    )
    for number in range(WALKS):
        matcher = first.deep_copy()
        chance = random.Random(number)  # no secret: the same ways each time
        for _ in range(STEPS):
            mask = matcher.compute_bitmask()
            if matcher.is_error() or matcher.is_stopped():
                break
            able = [at for at in range(256) if mask[at >> 3] >> (at & 7) & 1]
            closing = [at for at in able if at in _CLOSING]
            if not able:
                break
            matcher.consume_token(chance.choice(closing if closing and chance.random() < 0.3 else able))
        if matcher.is_error():
            return str(matcher.get_error())
    return ""


if __name__ == "__main__":
    _cpu_s, _memory = map(int, sys.argv[1:])
    for _kind, _most in ((resource.RLIMIT_CPU, _cpu_s), (resource.RLIMIT_AS, _memory), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(_kind, (_most, _most))
    print(json.dumps(attempt(sys.stdin.buffer.read().decode())))
