"""The participants of the random run: their keys, and how each behaves. Law: the same seed makes the same people."""

from __future__ import annotations

from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec, SprintRules
from p2p.base.keys import Key, digest
from p2p.base.types import VERSION

NAME, MODEL = "soak", "toy"
PEERS, CLIENTS, HOT = 12, 24, 2
# Behaviours, by the number of a node at genesis; a node that rotates its key keeps its behaviour. In order: faulty
# answers, false accusations, no verdicts, wrong reports, any of these and cheaper weights, numbers of other kernels.
FORGER, LIAR, SILENT, SLOPPY, WILD, OTHER_KERNELS = 1, 2, 3, 4, 5, 6
NEW = 99  # nodes that came later: honest
FAULTS = ("int4", "wrong_seed", "forged_stop")


class People:
    """by_public: every key that was ever made. number: node key -> behaviour."""

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(8, "big")
        self._made = 0
        self.by_public: dict[bytes, Key] = {}
        self.number: dict[bytes, int] = {}
        self.peers = [self.make() for _ in range(PEERS)]
        self.owners = [self.make() for _ in range(PEERS - 1)]  # the last two peers belong to one owner
        self.clients = [self.make() for _ in range(CLIENTS)]
        self.hot = {client.public: [self.make() for _ in range(HOT)] for client in self.clients}
        for at, key in enumerate(self.peers):
            self.number[key.public] = at

    def make(self) -> Key:
        key = Key(digest(b"soak key", self._seed, self._made.to_bytes(8, "big")))
        self._made += 1
        self.by_public[key.public] = key
        return key

    @property
    def accounts(self) -> list[Key]:
        return [*self.clients, *self.owners]

    def genesis(self) -> Genesis:
        """All windows are short, so that a few thousand records reach every status."""
        peers = tuple(
            GenesisPeer(key.public, self.owners[min(at, PEERS - 2)].public, 10, (MODEL,)) for at,
            key in enumerate(self.peers)
        )
        return Genesis(
            VERSION, NAME, 0, peers, tuple(GenesisAccount(key.public, 10**9) for key in self.accounts),
            (ModelSpec(MODEL, bytes(32), bytes(32), "bfloat16", 10, 2, 2048, kernel_distance_milli=60),),
            validation_window=2, epoch_blocks=29,
            checks=CheckRules(
                reveal_window=2, min_checked_tokens=40, min_checks=1, reputation_gain=30, plant_window=6, plant_every=2,
                honest_outlier_ppm=200_000, honest_miss_ppm=250_000, honest_disagree_ppm=100_000,
                appeal_window=2, appeal_committee=3,
            ),
            sprint=SprintRules(blocks=4, open_blocks=2, samples=2, max_tokens=8, unit_tokens=3),
            economy=EconomyRules(
                withdraw_wait=8, gov_window=6, output_window=8, tokens_per_weight=6, gov_quorum_milli=300
            ),
        )
