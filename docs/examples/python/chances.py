"""What else the model could have said: the likeliest tokens at each position, with their log-probabilities.

    python chances.py --dir DIR --peer ADDRESS "The sky is"
"""

from __future__ import annotations

import argparse

from p2p.client.sync import Client


def main(options: argparse.Namespace) -> None:
    with Client(options.dir, peers=options.peer) as client:
        answer = client.text(options.model, options.prompt, rows=True, max_tokens=options.max_tokens)
        assert answer.checked, answer.problems  # the rows are those of the artifact that the executor signed
        for row in answer.rows:
            others = ", ".join(f"{token}: {logprob:.2f}" for token, logprob in row.top[:3])
            print(f"token {row.token} ({row.logprob:.2f} nats), likeliest {others}")
        print(answer.text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--peer", action="append")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--max-tokens", type=int, default=8)
    main(parser.parse_args())
