"""Lost disputes that are not decided yet, by the executor that has them. Law: a case is open exactly while its inference can be appealed or
is; until then its executor's answers are all checked and its collateral stays.

State: `cases/<node key of now>` -> ids. Bounded by what one executor can finish within the windows.
"""

from __future__ import annotations

from p2p.ledger.state.view import View


def cases(view: View, node: bytes) -> list[bytes]:
    """Ids of the open cases of whoever `node` is now; not to be changed."""
    return view.ids(_key(view.node_now(node)))


def open_case(view: View, node: bytes, inference_id: bytes) -> None:
    view.add_id(_key(view.node_now(node)), inference_id)


def close_case(view: View, node: bytes, inference_id: bytes) -> None:
    """Also one that was never open."""
    if inference_id in cases(view, node):
        view.remove_id(_key(view.node_now(node)), inference_id)


def move_cases(view: View, old: bytes, new: bytes) -> None:
    """The participant `old` goes on as `new`."""
    found = view.ids(_key(old))
    view.put(_key(old), None)
    for inference_id in found:
        view.add_id(_key(new), inference_id)


def _key(node: bytes) -> bytes:
    return b"cases/" + node
