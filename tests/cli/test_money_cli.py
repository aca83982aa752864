"""What people read about money: earnings with their rules and the identity of the sums; notices, printed once."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.chain.queries import PUBLIC_OPS, Queries
from p2p.chain.views.earnings import earnings_answer, open_dispute_rows
from p2p.cli import earnings
from p2p.cli.advice import advised
from p2p.cli.amounts import MICRO, money
from p2p.cli.ask import last_notice, show_notices
from p2p.peer.dispute_alerts import DisputeAlerts
from p2p.wire.answers.accounts import Notice
from p2p.wire.answers.network import EarningsAnswer, OpenDispute
from tests.ledger.inferences import test_appeals as appeals
from tests.ledger.lab import STEADY, Lab, replace
from tests.ledger.money.test_epoch_settlement import convict, put_collateral, to_end
from tests.wire.statuses import owner_status


class LabChain:
    """The part of Chain that the queries need, over a lab."""

    answers = property(lambda self: self)

    def __init__(self, lab: Lab) -> None:
        self.lab, self.genesis = lab, lab.genesis

    def earnings(self, epoch: int, node: bytes, start: int) -> EarningsAnswer:
        return earnings_answer(self.lab.ctx, epoch, node, start)


def queries(lab: Lab, number: int) -> Queries:
    return Queries(LabChain(lab), lambda: owner_status(lab.nodes[number]), tuple, dict)  # type: ignore[arg-type]


def printed(
    lab: Lab, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **change: Any,
) -> str:
    monkeypatch.setattr(earnings, "call", lambda directory, request: queries(lab, number).answer(request))
    earnings.run(argparse.Namespace(**{"dir": Path(), "epoch": 0, "node": None, "json": False} | change))
    return capsys.readouterr().out


def test_every_inference_has_its_rule_and_the_sums_add_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    lab = Lab(epoch_blocks=100)
    put_collateral(lab, lab.nodes[1], 1000)
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    lab.decide(lab.drawn(executor=lab.nodes[2]), lambda node: {})
    before = printed(lab, 1, monkeypatch, capsys)
    assert "not settled yet" in before
    assert before.splitlines()[1].split()[2:4] == ["booked", "M1"], "it can still be forfeited, and will be"
    convict(lab, lab.nodes[1])
    sums = to_end(lab)
    text = printed(lab, 1, monkeypatch, capsys)
    assert [line.split()[2:4] for line in text.splitlines()[1:5]] == [["forfeited", "M7"], *[["refused", "M3"]] * 3]
    assert f"M12 holds: fees 600 + slashed 200 + penalties 0 = 800 = owners {sums.paid_micro}" in text
    assert ["paid", "M1"] in [line.split()[2:4] for line in printed(lab, 2, monkeypatch, capsys).splitlines()]
    data = json.loads(printed(lab, 2, monkeypatch, capsys, json=True, node=lab.nodes[1].hex()))
    assert (data["own"]["forfeited_micro"], data["own"]["slashed_micro"], data["balanced"]) == (300, 200, True)


def test_a_lost_dispute_says_what_can_be_done_and_later_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    lab = appeals.lab_of(epoch_blocks=100)
    inference_id = appeals.lost(lab)
    until = lab.inference(inference_id).appeal_until
    (line,) = [one for one in printed(lab, 1, monkeypatch, capsys).splitlines() if inference_id.hex() in one]
    assert line.split()[2:4] == ["disputed", "M13"]
    advice = f"folkmoot account appeal {inference_id.hex()}"
    assert f"until height {until}, with a bond of {appeals.BOND}: {advice}; because" in line
    appeals.appeal(lab, inference_id)
    (line,) = [one for one in printed(lab, 1, monkeypatch, capsys).splitlines() if inference_id.hex() in one]
    assert f"appealed; 300 micro-credits and a bond of {appeals.BOND} wait for the committee" in line
    appeals.speak(lab, inference_id, 0)
    to_end(lab)
    text = printed(lab, 1, monkeypatch, capsys)
    (line,) = [one for one in text.splitlines() if inference_id.hex() in one]
    assert line.split()[2:4] == ["refused", "M15"]
    assert line.endswith(f"because (appealed; bond of {appeals.BOND} burnt)")
    assert f"M12 holds: fees 0 + slashed 0 + penalties {appeals.BOND}" in text


def test_the_peers_log_tells_of_each_dispute_once() -> None:
    lab = appeals.lab_of()

    class Answering:
        reader = property(lambda self: self)

        def open_dispute_rows(self, node: bytes) -> tuple[OpenDispute, ...]:
            return open_dispute_rows(lab.ctx, node)

    watch = DisputeAlerts(Answering(), lab.nodes[1])  # type: ignore[arg-type]
    with capture_logs() as told:
        watch.look()
        inference_id = appeals.lost(lab)
        watch.look()
        watch.look()
        appeals.appeal(lab, inference_id)
        watch.look()
    (line,) = told
    assert (line["inference"], line["bond_micro"]) == (inference_id.hex(), appeals.BOND)
    assert line["command"] == f"folkmoot account appeal {inference_id.hex()}"


def test_sums_that_do_not_add_up_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    lab = Lab(epoch_blocks=20)
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    to_end(lab)
    from p2p.ledger.money.epoch_accounts import put_sums, sums

    put_sums(lab.view, 0, replace(sums(lab.view, 0), burnt_micro=1))
    with pytest.raises(RemoteProtocolError) as caught:
        printed(lab, 1, monkeypatch, capsys)
    assert caught.value.field == "sums"


def test_an_epoch_that_left_the_state_keeps_its_sums(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    lab = Lab(epoch_blocks=20, economy=replace(STEADY, keep_epochs=1))
    lab.decide(lab.drawn(executor=lab.nodes[1]), lambda node: {})
    lab.block(50)
    text = printed(lab, 1, monkeypatch, capsys)
    assert "have left the state" in text
    assert "M12 holds: fees 300" in text


@pytest.mark.parametrize(("change", "field"), [
    ({"epoch": -1}, "epoch"), ({"epoch": True}, "epoch"), ({"node": "00"}, "node"), ({"start": "0"}, "start"),
])
def test_the_query_names_what_is_wrong(change: dict[str, Any], field: str) -> None:
    assert {"earnings", "prices"} <= PUBLIC_OPS
    with pytest.raises(InvalidRequest) as caught:
        queries(Lab(), 1).answer_public({"op": "earnings", "epoch": 0, "node": "00" * 32} | change)
    assert caught.value.field == field


NOTICE = Notice("ab" * 32, "INVALIDATED", 300, 7)


def test_notices_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = tmp_path / "account.notices"
    assert last_notice(seen) == 0
    show_notices([NOTICE, replace(NOTICE, what="EXPIRED", height=9)], seen, as_json=False)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"inference {'ab' * 32} was invalidated at height 7; 300 micro-credits were refunded"
    assert "was expired" not in first and "expired at height 9" in second  # noqa: PT018
    assert last_notice(seen) == 9
    seen.write_text("x")
    assert last_notice(seen) == 0
    seen.write_text(str(2**60))
    assert last_notice(seen) == 0, "else every later question of this account would be refused"


def test_a_notice_as_json_is_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_notices([NOTICE], tmp_path / "seen", as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "event": "notice", "inference_id": "ab" * 32, "what": "INVALIDATED", "amount_micro": 300, "height": 7,
    }


def test_one_is_singular() -> None:
    assert [money(micro) for micro in (0, 1, 2, MICRO, 2 * MICRO, -1)] == [
        "0 micro-credits", "1 micro-credit", "2 micro-credits", "1 credit", "2 credits", "-1 micro-credit",
    ]


def test_who_has_no_credits_is_told_how_to_get_some() -> None:
    poor = InvalidRequest("985 micro-credits are held for this request, the account has 0", field="balance")
    assert advised(poor).startswith(str(poor))
    assert "folkmoot account transfer" in advised(poor)
    other = InvalidRequest("it is too long", field="prompt")
    assert advised(other) == str(other)
