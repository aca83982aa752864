"""A flame graph of collapsed stacks as SVG without scripts: the wider a frame, the more samples were in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

WIDTH, ROW, TOP = 1200, 16, 24  # pixels
LEAST = 0.002  # share of the samples below which a frame is left out
LETTER = 6.2  # pixels of a letter, about
_COLOURS = (("libp2p/", "#f5b041"), ("p2p/", "#7fb3d5"), ("trio/", "#d7bde2"), ("", "#d5d8dc"))


@dataclass(slots=True)
class Frame:
    """A function in one place of the stacks. Its children are what it called."""

    count: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((one.depth() for one in self.calls.values()), default=0)


def tree(stacks: str) -> Frame:
    """The frames of collapsed stacks, `frame;frame;... count` a line, from the outermost in."""
    root = Frame()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        here = root
        here.count += int(count)
        for name in stack.split(";"):
            here = here.calls.setdefault(name, Frame())
            here.count += int(count)
    return root


def draw(stacks: str, title: str) -> str:
    """The SVG. Frames that everything is in are left out at the foot."""
    root = tree(stacks)
    while len(root.calls) == 1 and next(iter(root.calls.values())).count == root.count:
        root = next(iter(root.calls.values()))
    height = TOP + ROW * root.depth()
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" '
        'font-size="10">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/><text x="4" y="15">{escape(title)}</text>',
    ]
    _draw(rows, root, 0.0, height - ROW, max(1, root.count))
    return "\n".join([*rows, "</svg>", ""])


def _draw(rows: list[str], frame: Frame, x: float, y: int, total: int) -> None:
    for name, one in sorted(frame.calls.items()):
        width = one.count / total * WIDTH
        if one.count / total >= LEAST:
            colour = next(colour for part, colour in _COLOURS if part in name)
            label = escape(name.partition(" (")[0][: int(width / LETTER)]) if width > 4 * LETTER else ""
            rows.append(
                f'<g><title>{escape(name)}: {one.count / total:.1%}</title><rect x="{x:.1f}" y="{y - ROW}" '
                f'width="{max(0.5, width - 0.5):.1f}" height="{ROW - 1}" fill="{colour}"/>'
                f'<text x="{x + 2:.1f}" y="{y - 5}">{label}</text></g>'
            )
            _draw(rows, one, x, y - ROW, total)
        x += width
