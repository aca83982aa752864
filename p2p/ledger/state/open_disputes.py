"""Which lost disputes of an executor are not decided for good. Law: a dispute is listed exactly while its inference can
be appealed or is being appealed; meanwhile all answers of its executor are checked, and its collateral is not released.

The list stands under the executor's key of now (keys.open_disputes). Its length is bounded by what one executor can
finish within the windows.
"""

from __future__ import annotations

from p2p.ledger.state import keys
from p2p.ledger.state.view import View


def open_disputes(view: View, node: bytes) -> list[bytes]:
    """Inference ids of the open disputes of the participant behind `node`. The list must not be changed."""
    return view.ids(keys.open_disputes(view.node_now(node)))


def open_dispute(view: View, node: bytes, inference_id: bytes) -> None:
    view.add_id(keys.open_disputes(view.node_now(node)), inference_id)


def close_dispute(view: View, node: bytes, inference_id: bytes) -> None:
    """Does nothing where the dispute was never listed."""
    if inference_id in open_disputes(view, node):
        view.remove_id(keys.open_disputes(view.node_now(node)), inference_id)


def move_disputes(view: View, old: bytes, new: bytes) -> None:
    """The participant's key `old` was replaced by `new`."""
    found = view.ids(keys.open_disputes(old))
    view.put(keys.open_disputes(old), None)
    for inference_id in found:
        view.add_id(keys.open_disputes(new), inference_id)
