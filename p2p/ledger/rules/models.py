"""The models of the network. Law: the state holds them, the genesis file gives the first ones and only votes change
them; an inference is judged by the spec in force at its draw, whatever a later vote changed.
"""

from __future__ import annotations

from p2p.base.codec import encode, load
from p2p.base.errors import InvalidRequest
from p2p.base.genesis import Genesis, ModelSpec
from p2p.base.types import U64
from p2p.ledger.state import keys
from p2p.ledger.state.view import View

MAX_MODELS = 64
MAX_HISTORY = 8  # earlier specs kept of one model

History = tuple[tuple[U64, ModelSpec], ...]  # (last height it was in force at, spec), oldest first


def first_models(view: View, genesis: Genesis) -> None:
    for spec in genesis.models:
        add_model(view, spec)


def model_spec(view: View, model: str) -> ModelSpec | None:
    """The spec in force now, of a retired model too (ModelSpec.retired); None for an unknown model."""
    return view.record(ModelSpec, keys.model(model))


def spec_at(view: View, model: str, height: int) -> ModelSpec | None:
    """The spec that was in force after block `height`; None for an unknown model."""
    return next((spec for until, spec in _history(view, model) if height <= until), None) or model_spec(view, model)


def models(view: View) -> list[ModelSpec]:
    """All specs in force, retired models too, sorted by name."""
    return [spec for name in view.ids(keys.MODELS) if (spec := model_spec(view, name.decode())) is not None]


def live(view: View) -> str:
    """The names of all models in use, for people."""
    return ", ".join(spec.model for spec in models(view) if not spec.retired) or "none"


def live_spec(view: View, model: str, height: int | None = None) -> ModelSpec:
    """The spec in force now, or after block `height`. Raises InvalidRequest(field='model') where it was unknown or
    retired then."""
    spec = model_spec(view, model) if height is None else spec_at(view, model, height)
    if spec is None or spec.retired:
        what = "is retired" if spec else "is not on this network"
        raise InvalidRequest(f"model {model!r} {what}; there are: {live(view)}", field="model")
    return spec


def check_new(view: View, model: str) -> None:
    """Raises InvalidRequest(field='model') where no model of this name can be added."""
    if not model or model_spec(view, model) is not None:
        raise InvalidRequest(f"model {model!r} exists already, or has no name; choose another name", field="model")
    if len(view.ids(keys.MODELS)) >= MAX_MODELS:
        raise InvalidRequest(f"a network has at most {MAX_MODELS} models", field="model")


def add_model(view: View, spec: ModelSpec) -> None:
    """Raises InvalidRequest as `check_new`."""
    check_new(view, spec.model)
    view.put(keys.MODELS, encode(sorted([*view.ids(keys.MODELS), spec.model.encode()])))
    view.put(keys.model(spec.model), encode(spec))


def put_model(view: View, spec: ModelSpec, height: int) -> None:
    """Replace the spec of a known model; the new one is in force after block `height`."""
    before = model_spec(view, spec.model)
    assert before is not None
    view.put(keys.model_history(spec.model), encode([*_history(view, spec.model), (height - 1, before)][-MAX_HISTORY:]))
    view.put(keys.model(spec.model), encode(spec))


def _history(view: View, model: str) -> History:
    raw = view.get(keys.model_history(model))
    return load(History, raw) if raw else ()
