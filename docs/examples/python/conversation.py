"""A conversation of several turns, which one executor answers, without an event loop.

    python conversation.py --dir DIR --peer ADDRESS "Name a river." "How long is it?"
"""

from __future__ import annotations

import argparse

from p2p.client import Session, user, with_answer
from p2p.client.sync import Client


def main(options: argparse.Namespace) -> None:
    session = Session()  # the same for every turn: whoever answers has the earlier ones in its cache
    with Client(options.dir, peers=options.peer) as client:
        messages = (user(options.turns[0]),)
        for then in [*options.turns[1:], None]:
            answer = client.chat(options.model, messages, session=session, max_tokens=options.max_tokens)
            assert answer.checked, answer.problems
            print(f"> {messages[-1].content}\n{answer.text}")
            print(f"[{answer.cost_micro} micro-credits, {answer.timings.first_token_s:.2f} s to the first token]")
            if then is not None:
                messages = with_answer(messages, answer, then)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("turns", nargs="+")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--peer", action="append")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--max-tokens", type=int, default=128)
    main(parser.parse_args())
