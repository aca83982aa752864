"""The view against a plain dict: after any reads, puts, drops and merges both hold the same bytes and records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest
from p2p.ledger.state.records import Account, Participant
from p2p.ledger.state.view import View

NAMES = [bytes([i]) * 32 for i in range(3)]
names = st.sampled_from(NAMES)
moves = st.lists(st.one_of(
    st.tuples(st.just("account"), names, st.integers(0, 3)), st.tuples(
        st.just("raw"), names, st.integers(0, 3) | st.none()
    ),
    st.tuples(st.just("add"), names, st.integers(0, 3)), st.tuples(st.just("remove"), names, st.integers(0, 3)),
    st.tuples(st.just("part"), names, st.integers(0, 3)), st.tuples(st.just("read"), names, st.just(0)),
    st.tuples(st.sampled_from(["child", "merge", "drop"]), names, st.just(0)),
), max_size=30)


def account(value: int) -> bytes:
    return encode(Account(value))


@settings(max_examples=300, deadline=None)
@given(moves)
def test_a_view_is_a_dict_over_a_dict(steps: list[tuple[str, bytes, int | None]]) -> None:
    below = {b"acct/" + NAMES[0]: account(9), b"list" + NAMES[0]: encode([b"x", b"x"]), b"parts": encode(NAMES)}
    views, models = [View(below.get)], [dict[bytes, bytes | None]()]

    def seen(key: bytes) -> bytes | None:
        return next((model[key] for model in reversed(models) if key in model), below.get(key))

    def check(view: View) -> None:
        for name in NAMES:
            raw = seen(b"acct/" + name)
            assert view.account(name) == (Account(raw[1]) if raw else Account())
            assert encode(view.ids(b"list" + name)) == (seen(b"list" + name) or b"\x80")
        assert [p.weight for p in view.participants()] == [
            weights[name] for name in NAMES if (weights := people[-1]).get(name) is not None
        ]

    people: list[dict[bytes, int | None]] = [{}]
    for what, name, value in steps:
        view, model, key = views[-1], models[-1], b"list" + name
        if what == "account":
            view.put_account(name, Account(value or 0))
            model[b"acct/" + name] = account(value or 0)
        elif what == "raw":
            model[b"acct/" + name] = None if value is None else account(value)
            view.put(b"acct/" + name, model[b"acct/" + name])
        elif what == "add":
            model[key] = encode([*view.ids(key), b"%d" % (value or 0)])
            view.add_id(key, b"%d" % (value or 0))
        elif what == "remove":
            left = [item for item in view.ids(key) if item != b"%d" % (value or 0)]
            model[key] = encode(left) if left else None
            view.remove_id(key, b"%d" % (value or 0))
        elif what == "part":
            found = Participant(name, name, value or 0, ())
            view.put_participant(found)
            model[b"part/" + name] = encode(found)
            people[-1][name] = value
        elif what == "child":
            views.append(view.child())
            models.append({})
            people.append(dict(people[-1]))
        elif what != "read" and len(views) > 1:
            child, changed, persons = views.pop(), models.pop(), people.pop()
            assert child.changes == changed
            if what == "merge":
                views[-1].merge(child)
                models[-1].update(changed)
                people[-1] = persons
        check(views[-1])
        if what == "read":
            assert views[-1].get(b"acct/" + name) == seen(b"acct/" + name)
    assert views[0].changes == models[0]


def test_what_a_child_does_is_not_seen_until_it_is_merged() -> None:
    view = View(lambda key: None)
    view.put(b"parts", encode(NAMES[:1]))
    view.put_participant(Participant(NAMES[0], NAMES[0], 1, ()))
    assert [p.weight for p in view.participants()] == [1]
    child = view.child()
    assert child.participants() is view.participants(), "it is not decoded again"
    child.put_participant(Participant(NAMES[0], NAMES[0], 2, ()))
    child.add_id(b"due", b"x")
    assert ([p.weight for p in child.participants()], [p.weight for p in view.participants()]) == ([2], [1])
    assert view.ids(b"due") == []
    assert child.account(NAMES[1]) == Account()
    view.put_account(NAMES[1], Account(5))
    assert child.account(NAMES[1]) == Account(5), "a child keeps no record of the view below it"
    view.merge(child)
    assert [p.weight for p in view.participants()] == [2]
    assert view.ids(b"due") == [b"x"]


@settings(max_examples=200, deadline=None)
@given(moves, moves)
def test_a_call_that_fails_leaves_no_change(
    before: list[tuple[str, bytes, int | None]], then: list[tuple[str, bytes, int | None]]
) -> None:
    """A call that fails leaves the view as it was; one that succeeds leaves all its changes."""
    view, other, below = (View({b"parts": encode(NAMES)}.get) for _ in range(3))
    for one in (view, other, below):
        run(one, before)
    kept, people = dict(other.changes), other.participants()

    def failing(inner: View) -> None:
        run(inner, then)
        raise InvalidRequest("on purpose", field="x")

    with pytest.raises(InvalidRequest):
        view.whole(failing)
    assert view.changes == kept
    assert view.participants() == people
    assert [view.account(name) for name in NAMES] == [other.account(name) for name in NAMES]
    view.whole(lambda inner: run(inner, then))
    run(below, then)
    assert view.changes == below.changes
    assert view.participants() == below.participants()


def run(view: View, steps: list[tuple[str, bytes, int | None]]) -> None:
    for what, name, value in steps:
        if what == "account":
            view.put_account(name, Account(value or 0))
        elif what == "raw":
            view.put(b"acct/" + name, None if value is None else account(value))
        elif what == "add":
            view.add_id(b"list" + name, b"%d" % (value or 0))
        elif what == "remove":
            view.remove_id(b"list" + name, b"%d" % (value or 0))
        elif what == "part":
            view.put_participant(Participant(name, name, value or 0, ()))
        elif what == "merge":
            child = view.child()
            child.put_account(name, Account(77))
            view.merge(child)
        else:
            view.changes  # noqa: B018 - encodes what was put as a record
            assert view.account(name) == view.child().account(name)
            assert len(view.participants()) <= len(NAMES)
