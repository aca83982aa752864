"""The page of a run: failures first, then what was done, what was asked, who was judged, what it cost.

Law: one HTML file without scripts and without anything from elsewhere; foreign text is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from p2p.base.files import write_file
from testnet.reports.charts import WIDE, band, dots, topology
from testnet.runs.result import Result

FILE = "report.html"
CSS = """
:root{--ink:#1c2024;--soft:#60646c;--line:#d9dce1;--paper:#fff;--card:#f6f7f9;--good:#1a7f4b;--bad:#c62a2f;--one:#3e63dd;
--band:#ffb22433}
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--soft:#a0a6ad;--line:#363a3f;--paper:#111315;--card:#1a1d20;
--good:#4cc38a;--bad:#ff6369;--one:#849dff;--band:#ffb22426}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1040px;padding:24px;color:var(--ink);background:var(--paper);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:28px 0 8px}p{margin:4px 0}.soft,.none{color:var(--soft)}
.verdict{font-weight:600;padding:10px 14px;border-radius:8px;margin:14px 0;color:#fff;background:var(--good)}
.verdict.bad{background:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:4px 8px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}th{color:var(--soft);
font-weight:500}td.n,th.n{text-align:right}
.good{color:var(--good)}.bad{color:var(--bad)}ul{margin:4px 0;padding-left:18px}
.two{display:grid;grid-template-columns:1fr 1fr;gap:18px}@media(max-width:760px){.two{grid-template-columns:1fr}}
.card{background:var(--card);border-radius:8px;padding:10px;overflow-x:auto}
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.band{fill:var(--band)}.area{fill:var(--one);opacity:.15}.high{fill:none;stroke:var(--one);
stroke-width:1.6}.low{fill:none;stroke:var(--one);stroke-width:1.6;stroke-dasharray:4 3}
circle.good{fill:var(--good)}circle.bad{fill:var(--bad)}.map{max-width:560px;margin:0 auto}
.link{stroke:var(--soft);opacity:.25}
.bootstrap{fill:#8e8c99}.validator{fill:#3e63dd}.host{fill:#1a7f4b}.agent{fill:#a144af}.villain{fill:#c62a2f}
.failed{stroke:var(--bad);stroke-width:3}.key i{display:inline-block;width:10px;height:10px;border-radius:5px;
margin:0 4px 0 12px}
"""
KEY = (("bootstrap", "#8e8c99"), ("validator", "#3e63dd"), ("host", "#1a7f4b"), ("agent", "#a144af"),
       ("villain", "#c62a2f"))


def write_page(result: Result, directory: Path) -> Path:
    """DIR/report.html."""
    file = directory / FILE
    write_file(file, page(result).encode(), field="dir")
    return file


def page(result: Result) -> str:
    """The whole page."""
    parts = [_head(result), _checks(result), _events(result), _answers(result), _verdicts(result), _network(result),
             _machine(result), _stages(result)]
    title = escape(f"{result.name}: {'all checks hold' if result.good else 'failed'}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{CSS}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _head(result: Result) -> str:
    failed = [check.name for check in result.checks if not check.holds]
    said = "All checks hold" if not failed else "Failed: " + ", ".join(failed)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.began)) if result.began else "not begun"
    fault = f"<p>A fault was planted in the peers on purpose: <b>{escape(result.fault)}</b></p>" if result.fault else ""
    return (
        f"<h1>{escape(result.name)}</h1><p>{escape(result.about)}</p>"
        f'<p class="soft">{len(result.members)} members, seed {result.seed}, provider {escape(result.provider)}, '
        f'{when}</p>{fault}<p class="verdict{" bad" if failed else ""}">{escape(said)}</p>'
    )


def _checks(result: Result) -> str:
    rows = []
    for check in sorted(result.checks, key=lambda check: check.holds):
        failures = "".join(f"<li>{escape(one)}</li>" for one in check.failures)
        mark = '<td class="good">holds</td>' if check.holds else '<td class="bad">FAILS</td>'
        rows.append(f"<tr>{mark}<td>{escape(check.name)}</td><td>{escape(check.says)}"
                    f"{'<ul>' + failures + '</ul>' if failures else ''}</td></tr>")
    return f"<h2>Checks</h2><table>{''.join(rows)}</table>"


def _events(result: Result) -> str:
    chart = band(result.heights, "height", "heights of the lowest and the highest peer", result.events, WIDE)
    rows = [
        (e.kind, e.who, f"{e.began_s:.0f}", "" if e.ended_s is None else f"{e.ended_s:.0f}",
         "" if e.healed_s is None else f"{e.healed_s:.1f}", e.error) for e in result.events
    ]
    table = _table(("what", "whom", "from, s", "to, s", "heights grew after, s", "error"), rows, numbers=(2, 3, 4))
    return (f'<h2>Heights and perturbations</h2><div class="card">{chart}</div>'
            f'<p class="soft">Dashed: the lowest peer. Shaded: a perturbation.</p>{table if rows else ""}')


def _answers(result: Result) -> str:
    if not result.answers:
        return ""
    points = [(a.asked_s, a.took_s, not a.error) for a in result.answers]
    firsts = sorted(a.first_s for a in result.answers if a.first_s is not None and not a.error)
    good = sum(1 for a in result.answers if not a.error)
    said = f"{good} of {len(result.answers)} questions answered"
    if firsts:
        said += f"; first token after {firsts[len(firsts) // 2]:.2f} s (median), {firsts[-1]:.2f} s (worst)"
    errors: dict[str, int] = {}
    for answer in result.answers:
        if answer.error:
            errors[answer.error] = errors.get(answer.error, 0) + 1
    rows = [(str(count), error) for error, count in sorted(errors.items(), key=lambda item: -item[1])[:10]]
    table = _table(("times", "why not"), rows, numbers=(0,)) if rows else ""
    chart = dots(points, "seconds to the end", "how long each answer took", result.events)
    goodput = dots(_goodput(result), "answers a minute", "goodput", result.events)
    return (f'<h2>Answers</h2><p>{escape(said)}</p><div class="two"><div class="card">{chart}</div>'
            f'<div class="card">{goodput}</div></div>{table}')


def _goodput(result: Result) -> list[tuple[float, float, bool]]:
    """(middle of a span, right answers a minute in it, whether there was any)."""
    end = max(answer.asked_s for answer in result.answers)
    span = max(end / 40, 5.0)
    counts: dict[int, int] = {}
    for answer in result.answers:
        counts.setdefault(int(answer.asked_s // span), 0)
        counts[int(answer.asked_s // span)] += not answer.error
    return [((number + 0.5) * span, count * 60 / span, count > 0) for number, count in sorted(counts.items())]


def _verdicts(result: Result) -> str:
    rows = [
        (v.name, v.villain or "honest", str(v.answers), str(v.checked), str(v.strikes), v.convicted or "-")
        for v in sorted(result.verdicts, key=lambda v: (not v.convicted, not v.villain, v.name))
    ]
    names = ("participant", "is", "answers", "checked", "strikes", "convicted")
    return f"<h2>Verdicts</h2>{_table(names, rows, numbers=(2, 3, 4))}" if rows else ""


def _network(result: Result) -> str:
    failed = frozenset(
        member.name for member in result.members for check in result.checks for one in check.failures
        if one.startswith(member.name + " ")
    )
    key = "".join(f'<i style="background:{colour}"></i>{name}' for name, colour in KEY)
    topics = _table(
        ("topic", "messages", "MB", "bytes a block and peer"),
        [(name, str(came), f"{size / 1e6:.2f}", f"{each:.0f}") for name, came, size, each in result.topics],
        numbers=(1, 2, 3),
    )
    emulator = ", ".join(f"{count} {name}" for name, count in sorted(result.emulator.items()))
    more = f"<p>Packets between regions: {escape(emulator)}</p>" if emulator else ""
    return (f'<h2>Network</h2><div class="two"><div class="card">{topology(result.members, result.links, failed)}'
            f'<p class="key soft">{key}</p></div><div>{topics if result.topics else ""}{more}'
            f"<p>{len(result.links)} connections at the end</p></div></div>")


def _machine(result: Result) -> str:
    charts = (
        band(result.memory_mib, "MiB", "memory of one peer", result.events),
        band(result.cores, "processors", "processors used by one peer", result.events),
        band(result.files, "open files", "open files of one peer", result.events),
    )
    cards = "".join(f'<div class="card">{chart}</div>' for chart in charts)
    return f'<h2>Machine</h2><div class="two">{cards}</div>'


def _stages(result: Result) -> str:
    rows = [(name, f"{seconds:.1f}") for name, seconds in result.stages]
    return f"<h2>Stages</h2>{_table(('stage', 'seconds'), rows, numbers=(1,))}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    def cells(tag: str, words: Sequence[str]) -> str:
        return "".join(
            f'<{tag}{" class=n" if at in numbers else ""}>{escape(word)}</{tag}>' for at, word in enumerate(words)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', names)}</tr>{body}</table>"
