"""simulate: plays the economy with many agents and shows which conduct pays.

Law: thin. It is seeded, and prints the seed; the ledger is the real one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from p2p.cli.arguments import whole
from p2p.cli.output import progress
from p2p.cli.terminal.progress import Progress

SEED = 20261127


def register(commands: Any) -> None:
    command = commands.add_parser("simulate")
    command.add_argument("what", choices=["economy"], help="what is simulated")
    size = command.add_mutually_exclusive_group()
    size.add_argument(
        "--full", action="store_true",
        help="200 epochs, many operators and 3,000 clients (default: a smaller network for 12 epochs)",
    )
    size.add_argument("--tiny", action="store_true", help="few agents: a check of the whole way, not a result")
    command.add_argument("--maps", action="store_true", help="draw the maps of parameters too (--full always does)")
    command.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=SEED, metavar="N", help="fixes every draw (default: %(default)s)",
    )
    command.add_argument(
        "--jobs", type=whole(1, 1024), default=2, metavar="N",
        help="processes that share the work; their number changes no result (default: %(default)s)",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write table, results.json and plots here (default: nowhere)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from p2p.lab.economy import maps, report
    from p2p.lab.economy.assumptions import Assumptions
    from p2p.lab.economy.detection import data
    from p2p.lab.economy.scenarios import of_size
    from p2p.lab.economy.trial import play_all

    say = progress(options)
    size = "full" if options.full else "tiny" if options.tiny else "small"
    say(
        f"seed {options.seed}, size {size}; the ledger's own code, real signatures; no consensus, no network, agents "
        f"stream what is finished"
    )
    say(f"detection: {data()['from']}")
    for what, value in Assumptions().table():
        say(f"  {what:<55}{value}")
    scenarios = of_size(size)
    about = {"seed": options.seed, "size": size, "detection": data()["from"], **{s.name: s.text() for s in scenarios}}
    for scenario in scenarios:
        say(f"{scenario.name}: {scenario.text()}")
    with Progress("playing", unit="worlds", quiet=options.json) as bar:
        played = play_all(
            scenarios, options.seed, options.jobs, say, lambda done, of: bar.at(done, total=of),
        )
    for name, found in report.alone(played).items():
        say("\n".join(["", name, *report.table(found)]))
    say("\n".join(["", "attacks", *report.table_against(played)]))
    say("\n".join(["", "evasion", *report.table_of_evasion()]))
    grids = maps.draw(options.seed, options.jobs, tiny=options.tiny, say=say) if options.full or options.maps else []
    if options.json:
        print(json.dumps(report.document(played, grids, about)))
    if options.out:
        say("wrote " + ", ".join(map(str, report.write(options.out, played, grids, about))))
    return 0
