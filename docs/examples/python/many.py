"""Several questions at once under asyncio, and what the network serves.

    python many.py --dir DIR --peer ADDRESS "What is one and one?" "What is two and two?"
"""

from __future__ import annotations

import argparse
import asyncio

from p2p.client.aio import Client


async def main(options: argparse.Namespace) -> None:
    async with Client(options.dir, peers=options.peer) as client:
        for card in await client.models():
            print(f"{card.name}: {card.context_tokens} tokens of context, {card.price_micro} micro-credits a token")
        asked = (client.chat(options.model, text, max_tokens=options.max_tokens) for text in options.prompts)
        for text, answer in zip(options.prompts, await asyncio.gather(*asked), strict=True):
            print(f"> {text}\n{answer.text}\n[{answer.finish_reason.name.lower()}, {answer.cost_micro} micro-credits]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--peer", action="append")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--max-tokens", type=int, default=64)
    asyncio.run(main(parser.parse_args()))
