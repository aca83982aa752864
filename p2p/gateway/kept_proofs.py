"""The proofs of the last answers, for whoever wants to check one. Law: in memory only, bounded in number and bytes; it
holds prompts, so it is given only to who may use the gateway."""

from __future__ import annotations

from collections import OrderedDict

from p2p.base.codec import encode
from p2p.base.serving_limits import KEPT_PROOF_BYTES, KEPT_PROOFS
from p2p.client.answer_proof import AnswerProof


class KeptProofs:
    """Of one gateway."""

    def __init__(self, most: int = KEPT_PROOFS, size: int = KEPT_PROOF_BYTES) -> None:
        self._most, self._most_bytes = most, size
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def keep(self, proof: AnswerProof) -> None:
        """Under its inference's id."""
        name, raw = proof.signed_request.inference_id.hex(), encode(proof)
        self._bytes += len(raw) - len(self._kept.pop(name, b""))
        self._kept[name] = raw
        while len(self._kept) > self._most or (self._bytes > self._most_bytes and self._kept):
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old)

    def get(self, inference_id: str) -> bytes | None:
        return self._kept.get(inference_id)
