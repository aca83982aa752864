"""What a draw was made from, kept as long as there is room: peers forget the proofs after some thirty blocks.

Law: everything is kept as a peer gave it. Whoever wants to believe it checks the proofs; the page does.
"""

from __future__ import annotations

from collections import OrderedDict

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.serving_limits import EXPLORER_DRAW_BYTES, EXPLORER_DRAWS
from p2p.base.types import NO_SESSION, Request
from p2p.chain.proofs.state import ArchiveProof
from p2p.explorer.rows import DrawStory
from p2p.explorer.source import Source
from p2p.ledger.state.records import Inference
from p2p.wire.answers.blocks import Proved, ServingAnswer


class Draws:
    """The draws of the last inferences."""

    def __init__(self, most: int = EXPLORER_DRAWS, size: int = EXPLORER_DRAW_BYTES) -> None:
        self._most, self._most_bytes = most, size
        self._kept: OrderedDict[str, DrawStory] = OrderedDict()
        self._bytes = 0

    def get(self, inference_id: str) -> DrawStory | None:
        """Only a complete one: another may be completed by asking again."""
        return self._kept.get(inference_id)

    async def fetch(self, source: Source, inference_id: str) -> DrawStory:
        """Ask for all of it; kept where it is complete. Raises FolkmootError where the record itself is not to be
        had."""
        kept = self._kept.get(inference_id)
        if kept is not None:
            return kept
        found = await _fetched(source, inference_id)
        if not found.why:
            self._keep(found)
        return found

    def _keep(self, story: DrawStory) -> None:
        self._kept[story.id] = story
        self._bytes += _size(story)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, old = self._kept.popitem(last=False)
            self._bytes -= _size(old)


def _size(story: DrawStory) -> int:
    return len(story.record) + len(story.proof) + len(story.serving) + len(story.session_serving)


async def _fetched(source: Source, inference_id: str) -> DrawStory:
    proved = await source.ask(Proved, {"op": "prove", "kind": "inference", "id": inference_id})
    left = None if proved.left is None else unpack(ArchiveProof, bytes.fromhex(proved.left))
    record = left.record if left is not None else bytes.fromhex(proved.value or "")
    if not record:
        raise RemoteProtocolError("the peer shows no record of this inference", field="id", code="not_found")
    request = unpack(Inference, record).signed_request.request
    serving, why = await _serving(source, request, request.draw_height)
    then = ServingAnswer(0, "")
    if request.session != NO_SESSION and request.session_height:
        same = request.session_height == request.draw_height
        then, why_then = (serving, why) if same else await _serving(source, request, request.session_height)
        why = why or why_then
    return DrawStory(
        inference_id, record.hex(), proved.height, proved.proof, left is not None, request.draw_height,
        serving.height, serving.proof, request.session_height, then.height, then.proof, why,
    )


async def _serving(source: Source, request: Request, height: int) -> tuple[ServingAnswer, str]:
    """(the proof, why there is none)."""
    try:
        return await source.ask(ServingAnswer, {"op": "serving", "model": request.model, "height": height}), ""
    except FolkmootError as error:
        return ServingAnswer(0, ""), error.message
