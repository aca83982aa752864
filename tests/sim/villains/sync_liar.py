"""Answers sync with tops that do not exist, blocks that were never decided, certificates of one signature, and
garbage."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.consensus.messages import CommitCertificate
from p2p.wire.frames import SyncBlock, SyncTop, SyncWanted, pack_frame, parse_frame
from tests.sim.villains.base import Villain


class SyncLiar(Villain):
    def answer(self, request: bytes) -> bytes:
        frame, rng = parse_frame(request), self.world.rng
        assert isinstance(frame, SyncWanted)
        if frame.height == 0:
            return pack_frame(SyncTop(1, self.chain.height() + rng.choice((0, 5, 2**40))))
        found = self.chain.blocks.block(frame.height) or self.chain.blocks.block(self.chain.height())
        if found is None or rng.random() < 0.2:
            return rng.randbytes(64)
        block, certificate = found
        header = replace(block.header, height=frame.height, time_ms=block.header.time_ms + 7)
        forged = replace(block, header=header)
        lies = (
            SyncBlock(forged, certificate),
            SyncBlock(forged, replace(certificate, height=frame.height, block_id=forged.block_id)),
            SyncBlock(forged, CommitCertificate(frame.height, 0, forged.block_id, certificate.signatures[:1])),
            SyncBlock(block, replace(certificate, signatures=certificate.signatures[:1])),
            SyncBlock(block, certificate),
        )
        return pack_frame(rng.choice(lies))
