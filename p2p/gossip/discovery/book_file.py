"""The address book as a file.

Law: it holds what was seen, not what was said; any damage costs the damaged lines only.

Pure. One line per peer: rank, when it was seen (seconds since 1970), peer, addresses. The first lines are the anchors'
(SLOT-3), with ANCHOR in place of a rank; then the newest first.
"""

from __future__ import annotations

import re

from p2p.base.limits import MAX_ANCHORS
from p2p.gossip.discovery.book import AddressBook, Rank

ANCHOR = "a"
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,80}\Z")
_FEWEST = 4  # words of a line
_SEEN = re.compile(r"[0-9]{1,12}\Z")


def dump(book: AddressBook, anchors: tuple[str, ...], most_bytes: int, epoch: float) -> bytes:
    """The book without hearsay, up to `most_bytes`. anchors: peers of the book. epoch: what is added to its times to
    make them seconds since 1970."""
    lines, size = [], 0
    rows = sorted(book.entries(), key=lambda row: row[0] not in anchors)  # stable: else the newest first
    for peer, rank, seen, addresses in rows:
        first = ANCHOR if peer in anchors else str(int(rank))
        line = " ".join((first, str(max(0, round(seen + epoch))), peer, *addresses)) + "\n"
        if rank is Rank.HEARSAY or size + len(line) > most_bytes:
            continue
        size += len(line)
        lines.append(line)
    return "".join(lines).encode("ascii")


def load(book: AddressBook, raw: bytes, most_bytes: int, epoch: float, now: float) -> int:
    """Learn what `dump` wrote, anchors included; other lines are ignored. Returns how many peers were read. now: no
    peer was seen later."""
    count, anchors = 0, list[str]()
    for line in reversed(raw[:most_bytes].decode("ascii", "replace").splitlines()):
        words = line.split(" ")
        if len(words) < _FEWEST or words[0] not in ("1", "2", ANCHOR):
            continue
        rank, seen, peer, *addresses = words
        if not (_SEEN.match(seen) and _PEER.match(peer)):
            continue
        kind = Rank.REACHED if rank == ANCHOR else Rank(int(rank))
        book.learn(peer, addresses, kind, now=min(now, int(seen) - epoch))
        known = book.rank(peer) is not None
        count += known
        anchors += [peer] if known and rank == ANCHOR else []
    book.anchors = tuple(reversed(anchors))[:MAX_ANCHORS]
    return count
