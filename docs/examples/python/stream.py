"""Shows an answer as it comes, and refuses what costs too much before it is signed.

    python stream.py --dir DIR --peer ADDRESS "What is the capital of France?"
"""

from __future__ import annotations

import argparse

import trio

from p2p.client import Client, Done, Resumed, TermsShown, Token, chat_question

LIMIT_MICRO = 10_000_000  # what the whole answer may cost


async def main(options: argparse.Namespace) -> None:
    question = chat_question(options.model, options.prompt, max_tokens=options.max_tokens)
    async with Client.open(options.dir, peers=options.peer) as client, client.answer(question) as events:
        async for event in events:
            if isinstance(event, TermsShown) and event.most_micro > LIMIT_MICRO:
                raise SystemExit(f"it may cost {event.most_micro} micro-credits")  # nothing was signed
            if isinstance(event, Resumed):
                print(f"\n[{event.peer} goes on after {event.tokens} tokens]")
            if isinstance(event, Token):
                print(event.text, end="", flush=True)
            if isinstance(event, Done):
                print(f"\n[by {event.receipt.executor.hex()[:12]}, {'checked' if event.receipt.checked else 'WRONG'}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--peer", action="append", help="leave it out where DIR/config.toml has a bootstrap")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--max-tokens", type=int, default=128)
    trio.run(main, parser.parse_args())
