"""`python -m p2p.lab.economy.extract RESULTS`: the rows of the verification table that the simulator uses, into its data file. Law: copied, not
changed; the file says from what.

RESULTS is docs/verification/results.json; thresholds come from the calibration profile shipped with this program.
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
PPM = 1000  # false alarms in a million that the table was made for
_VALIDATOR = {SAME: VLLM, ACROSS: TORCH}


def extract(results: bytes, profile: Profile) -> dict[str, Any]:
    curves = {(c["case"], c["executor"], c["validator"]): c["rates"] for c in json.loads(results)["curves"]}
    exact = next((name for name in profile.pairs if "#" in name and family(name.partition(">")[0]) == VLLM), None)
    if exact is None:
        raise ConfigError("the profile has no pair of equal kernels, which the table's rows of one stack are about", field="profile")
    pairs = {SAME: exact, ACROSS: f"{VLLM}>{TORCH}"}
    return {
        "from": f"docs/verification/results.json, SHA-256 {hashlib.sha256(results).hexdigest()}; thresholds: profile {profile.hash()}",
        "rows": {f"{kind}/{pair}": f"{case}, {VLLM} > {_VALIDATOR[pair]}" for kind, case in CASES.items() for pair in (SAME, ACROSS)},
        "lengths": list(LENGTHS),
        "rates": {f"{kind}/{pair}": curves[case, VLLM, _VALIDATOR[pair]] for kind, case in CASES.items() for pair in (SAME, ACROSS)},
        "limits_milli": {pair: [profile.pairs[name].threshold_milli(n, PPM) for n in LENGTHS] for pair, name in pairs.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.lab.economy.extract", description=__doc__)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    profile = shipped(PROFILE)
    if profile is None:
        raise ConfigError(f"no profile is shipped for {PROFILE}", field="profile")
    FILE.write_text(json.dumps(extract(options.results.read_bytes(), profile), indent=1) + "\n")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
