"""An executor that signs whatever its engine gives.

Law: every engine cheat needs it, because an honest executor signs nothing that stage 0 refutes.
"""

from p2p.base.types import FinishRecord
from p2p.peer.executor import Executor
from p2p.peer.job import Assignment
from p2p.peer.ready_engine import ReadyEngine
from p2p.verification.artifact import Artifact
from p2p.verification.sampling import Sampling


class Reckless(Executor):
    async def _check_own(
        self, artifact: Artifact, record: FinishRecord, assignment: Assignment, sampling: Sampling, ready: ReadyEngine
    ) -> None:
        del artifact, record, assignment, sampling, ready
