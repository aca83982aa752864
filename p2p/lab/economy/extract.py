"""Copies the rows of the verification table that the simulator uses into its data file: `python -m
p2p.lab.economy.extract RESULTS`. Law: rows are copied unchanged, and the file names its sources.

RESULTS is docs/verification/results.json. Thresholds come from the calibration profile that is shipped with this
program.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.lab.economy.detection import ACROSS, CASES, FILE, SAME
from p2p.lab.measure.evaluate import LENGTHS
from p2p.lab.measure.plan import TORCH, VLLM
from p2p.verification.profile import Profile, family, shipped

PROFILE = "SmolLM2-135M-Instruct"
PPM = 1000  # false alarms in a million answers, for which the table was made
_VALIDATOR = {SAME: VLLM, ACROSS: TORCH}  # the validator's stack; the executor's is VLLM


def extract(results: bytes, profile: Profile) -> dict[str, Any]:
    """The data file's content. results: bytes of RESULTS. Raises ConfigError where the profile lacks a pair of
    stacks.
    """
    curves = {(c["case"], c["executor"], c["validator"]): c["rates"] for c in json.loads(results)["curves"]}
    exact = next((name for name in profile.pairs if "#" in name and family(name.partition(">")[0]) == VLLM), None)
    if exact is None:
        raise ConfigError(
            f"the profile has no pair of equal {VLLM} kernels, which rows of one stack need; calibrate one",
            field="profile"
        )
    pairs = {SAME: exact, ACROSS: f"{VLLM}>{TORCH}"}
    wanted = [(kind, case, pair) for kind, case in CASES.items() for pair in (SAME, ACROSS)]
    return {
        "from": f"docs/verification/results.json, SHA-256 {hashlib.sha256(results).hexdigest()}; "
                f"thresholds: profile {profile.hash()}",
        "rows": {f"{kind}/{pair}": f"{case}, {VLLM} > {_VALIDATOR[pair]}" for kind, case, pair in wanted},
        "lengths": list(LENGTHS),
        "rates": {f"{kind}/{pair}": curves[case, VLLM, _VALIDATOR[pair]] for kind, case, pair in wanted},
        "limits_milli": {
            pair: [profile.pairs[name].threshold_milli(n, PPM) for n in LENGTHS] for pair, name in pairs.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.economy.extract", description=__doc__)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    profile = shipped(PROFILE)
    if profile is None:
        raise ConfigError(f"no calibration profile is shipped for {PROFILE}; make one first", field="profile")
    FILE.write_text(json.dumps(extract(options.results.read_bytes(), profile), indent=1) + "\n")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
