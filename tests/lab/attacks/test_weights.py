"""The roundings on a small matrix, and two sets of real altered weights compared with the right ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p.base.errors import ConfigError
from p2p.lab.attacks import weights

torch = pytest.importorskip("torch")
# of the root mean square of a normal matrix; measured 0.006 to 0.11
ERRORS = {"int8": 0.008, "int6": 0.04, "fp8": 0.05, "int5": 0.075, "int4": 0.15}


@pytest.mark.parametrize("name", ERRORS)
def test_a_rounding_is_as_coarse_as_its_name(name: str) -> None:
    weight = torch.randn(32, 256, generator=torch.Generator().manual_seed(1))
    rounded = weights.rounded(name, weight)
    error = float((rounded - weight).square().mean().sqrt())
    assert ERRORS[name] / 4 < error < ERRORS[name]
    if name == "int8":
        assert all(len(row.unique()) <= 255 for row in rounded)
    if name in ("int4", "int5", "int6"):
        assert all(len(group.unique()) <= 2 ** int(name[3:]) for group in rounded.reshape(-1, weights.GROUP))


def test_rounding_twice_changes_nothing_more() -> None:
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(2))
    for name in ("int8", "int4"):
        once = weights.rounded(name, weight)
        assert torch.allclose(weights.rounded(name, once), once, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    for name in ERRORS:
        assert not weights.rounded(name, torch.zeros(2, 128)).any()


@pytest.mark.parametrize("name", weights.CHANGED)
def test_a_change_is_as_small_as_it_says(name: str) -> None:
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(32, 256, generator=random)
    change = weights.changed(name, weight, random) - weight
    if name == "pruned":
        assert (weight + change == 0).float().mean() == pytest.approx(weights.PRUNED, abs=0.01)
        return
    assert float(change.norm() / weight.norm()) == pytest.approx(weights.SMALL, rel=1e-3)
    rank = int(torch.linalg.matrix_rank(change, rtol=1e-4))
    assert rank == (weights.RANK if name == "low_rank" else 32)


def test_unknown_weights_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        weights.prepare("int3")
    assert caught.value.field == "weights"


@pytest.mark.engine
@pytest.mark.parametrize("name", ["int8", "smaller_model"])
def test_real_altered_weights_differ_where_they_should(name: str) -> None:
    from safetensors.torch import load_file

    from p2p.inference.stack.model import prepare_model, weights_hash

    right, altered = prepare_model(), weights.prepare(name)
    assert weights_hash(right) != weights_hash(altered)
    assert (altered / "chat_template.jinja").read_bytes() == (right / "chat_template.jinja").read_bytes()
    one, other = load_file(right / "model.safetensors"), load_file(altered / "model.safetensors")
    linear = {key for key in one if "layers." in key and one[key].dim() == 2}
    if name == "int8":
        assert one.keys() == other.keys()
        assert {key for key in one if not torch.equal(one[key], other[key])} == linear
    else:
        assert len(other) == len(one) - len([key for key in one if "layers." in key]) // 3


def test_every_expert_of_a_mixture_is_rounded(tmp_path: Path) -> None:
    """The library keeps all experts of a layer in one tensor of three dimensions."""
    from safetensors.torch import load_file

    from p2p.inference.stack.mixture import EXPERTS, prepare_mixture

    right, altered = prepare_mixture(), tmp_path
    weights._build("int4", right, altered)
    one, other = load_file(right / "model.safetensors"), load_file(altered / "model.safetensors")
    experts = [key for key in one if "experts" in key]
    assert len(experts) >= 2 * EXPERTS
    assert one.keys() == other.keys()
    assert not [key for key in experts if torch.equal(one[key], other[key])]
    assert all(len(group.unique()) <= 16 for group in other[experts[0]].reshape(-1, weights.GROUP))
    assert {key for key in one if torch.equal(one[key], other[key])} == {
        key for key in one if "layers." not in key or one[key].dim() < 2
    }
