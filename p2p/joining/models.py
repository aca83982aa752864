"""The model that a newcomer wants to serve: its folder, its name in the network, its profile.

Law: the registry's hash of the weights decides whether a folder is the model; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2p.base.errors import ConfigError
from p2p.base.files import exists
from p2p.base.genesis import ModelSpec
from p2p.inference.stack.model import MODEL_NAME, cache_root, prepare_model, weights_hash
from p2p.verification.profile import shipped


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be served from here."""

    spec: ModelSpec
    folder: Path
    weights: int  # bytes


def find_model(
    wanted: str, models: tuple[ModelSpec, ...], say: Callable[[str], None] = lambda text: None,
) -> Offer:
    """wanted: a model's name in the network, or the folder of its files. Raises ConfigError that says what there is."""
    names = {spec.model: spec for spec in models if not spec.retired}
    folder = Path(wanted)
    if exists(folder / "config.json"):
        spec = names.get(folder.resolve().name) or _by_weights(folder, names)
    elif wanted in names:
        spec = names[wanted]
        folder = cache_root() / wanted
        if not exists(folder / "config.json") and wanted == MODEL_NAME:
            folder = prepare_model(say)
    else:
        known = ", ".join(sorted(names)) or "none"
        what = f"{wanted!r} is neither a model of this network ({known}) nor a model's folder"
        raise ConfigError(what, field="serve")
    if not exists(folder / "config.json"):
        what = f"the files of {wanted} are not here: put config.json, *.safetensors and tokenizer.json into {folder}"
        raise ConfigError(f"{what}, or give their folder: --serve FOLDER", field="serve")
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not size:
        raise ConfigError(f"{folder} has no *.safetensors: the weights are missing", field="serve")
    return Offer(spec, folder, size)


def check_weights(offer: Offer) -> None:
    """Raises ConfigError where the folder's weights are not those that the network means. Reads all of them."""
    named = offer.spec.weights_hash
    if any(named) and (found := weights_hash(offer.folder)) != named:
        hashes = f"the SHA-256 {found.hex()[:16]}, and the network names {named.hex()[:16]}"
        what = f"the weights in {offer.folder} have {hashes}"
        raise ConfigError(f"{what}: get the model's own files, in {offer.spec.precision}", field="serve")


def profile_for(spec: ModelSpec) -> str:
    """Where the calibration comes from, in words: the shipped one, or none yet. Raises ConfigError where the network
    wants another one than the shipped."""
    found = shipped(spec.model)
    if found is None:
        return ""
    if spec.profile_hash and found.hash() != spec.profile_hash:
        what = f"the network wants the calibration {spec.profile_hash[:16]} for {spec.model}, this program ships"
        raise ConfigError(f"{what} {found.hash()[:16]}: install the network's version of folkmoot", field="profile")
    return f"the shipped one, {found.hash()[:16]}"


def _by_weights(folder: Path, names: dict[str, ModelSpec]) -> ModelSpec:
    found = weights_hash(folder)
    spec = next((spec for spec in names.values() if spec.weights_hash == found), None)
    if spec is None:
        known = ", ".join(sorted(names)) or "none"
        raise ConfigError(f"{folder} holds no model of this network ({known}): its weights have another hash",
                          field="serve")
    return spec


