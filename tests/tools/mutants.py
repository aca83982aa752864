"""`make mutants`: removes one safeguard at a time and sees the tests fail.

Law: a mutant that survives is a hole in the tests.

Each mutant is one replacement in one file of a copy of the tree. Unit tests, conformance and simulation run until one
of them fails. A mutant quotes the line that it changes: whoever changes such a line changes the quote too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import folder

ROOT = Path(__file__).parents[2]
C, V, INF = "p2p/consensus/", "p2p/verification/", "p2p/inference/"
G, N = "p2p/gossipsub/", "p2p/gossip/"


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str  # what is no longer so
    file: str
    old: str  # stands in the file exactly once
    new: str


MUTANTS = (
    Mutant("lock is not checked (L22)", C + "round.py", "free = self.locked is None or self.locked[0] == block_id\n",
           "free = True\n"),
    Mutant("lock is not checked (L28)", C + "round.py", " or self.locked[1] <= valid_round", " or True"),
    Mutant("valid round is not before the round", C + "round.py", "if not 0 <= valid_round < self.round:",
           "if valid_round < 0:"),
    Mutant("valid block is not updated", C + "round.py", "        self.valid = (block_id, self.round)\n", ""),
    Mutant("lock is not set", C + "round.py", "        self.locked = (block_id, self.round)\n", ""),
    Mutant("timeouts act in any round", C + "round.py",
           "        if round_ != self.round:\n            return None\n        if kind", "        if kind"),
    Mutant("polka is not asked for (L28)", C + "machine.py",
           "if self.validators.is_quorum(self.votes.weight_for(pol_round, VoteType.PREVOTE, block_id)) and", "if"),
    Mutant("polka counts prevotes with any valid round", C + "machine.py",
           "VoteType.PREVOTE, proposal.block_id, proposal.pol_round)", "VoteType.PREVOTE, proposal.block_id)"),
    Mutant("block is not asked to be valid (D)", C + "machine.py",
           "if self.validity.get(block_id, False):\n                return self._emit",
           "if block_id in self.validity:\n                return self._emit"),
    Mutant("block is not asked to be valid (O)", C + "machine.py",
           "if self.validity.get(block_id, False):\n                return block_id",
           "if block_id in self.validity:\n                return block_id"),
    Mutant("anybody proposes", C + "machine.py", " or proposal.proposer != self.proposer_of(proposal.round):", ":"),
    Mutant("quorum one too low", C + "validators.py", "3 * weight > 2 * self.total",
           "3 * weight >= 2 * self.total - 3"),
    Mutant("quorum not strict", C + "validators.py", "3 * weight > 2 * self.total", "3 * weight >= 2 * self.total"),
    Mutant("quorum one too high", C + "validators.py", "3 * weight > 2 * self.total",
           "3 * weight > 2 * self.total + 3"),
    Mutant("skip at exactly a third", C + "validators.py", "3 * weight > self.total", "3 * weight >= self.total"),
    Mutant("guard lets everything pass", C + "guard.py", "return there > here or (", "return True or ("),
    Mutant("signature before the guard", C + "signer.py",
           "        self._guard.record(self._height, entries, guard)\n", ""),
    Mutant("log is not replayed", C + "replay.py", "    for raw in logged:", "    for raw in logged[:0]:"),
    Mutant("second vote replaces the first", C + "votes.py",
           "            return False\n        return self._add_first(signed)\n",
           "            return False\n        return self._add_first(signed) or self._add_beside(signed)\n"),
    Mutant("rounds ahead are not bounded", C + "votes.py",
           " and not self._has_room_ahead(signed.vote, round_now):", " and False:"),
    Mutant("precommits may name a valid round", C + "messages.py", "return self.valid_round == NIL_ROUND",
           "return True"),
    Mutant("one domain for both votes", C + "messages.py", "VoteType.PRECOMMIT: Domain.PRECOMMIT}",
           "VoteType.PRECOMMIT: Domain.PREVOTE}"),
    Mutant("signatures of commits are not verified", C + "certificates.py",
           "and all(vote.verify() for vote in commit_votes(certificate, network))", ""),
    Mutant("polka certificates need no quorum", C + "certificates.py",
           "return right and validators.is_quorum(sum(map(validators.weight, senders)))", "return right"),
    Mutant("signatures of polkas are not verified", C + "certificates.py",
           "sum(map(validators.weight, senders))) and all(\n"
           "        is_verified(signed) or signed.verify() for signed in certificate.votes\n    )",
           "sum(map(validators.weight, senders)))"),
    Mutant("validator set hash is not checked", C + "header.py", "h.validators_hash == validators.hash()", "True"),
    Mutant("next set hash is not checked", C + "header.py",
           "h.next_validators_hash == ValidatorSet.of(app.next_validators()).hash()", "True"),
    Mutant("app hash is not checked", C + "header.py", "h.app_hash == app.app_hash()", "True"),
    Mutant("last commit is not checked", C + "header.py",
           "if last is not None and not _right_commit(app, last, network):", "if False:"),
    Mutant("beacon is not checked", C + "header.py",
           "if not check_beacon(h.proposer, app.beacon(), h.height, h.round, h.beacon, h.beacon_proof):", "if False:"),
    Mutant("old block in a new proposal", C + "message_checks.py", "header.round == p.round if p.pol_round < 0 else",
           "True if p.pol_round < 0 else"),
    Mutant("evidence is not checked in blocks", C + "header.py", "if None in offenders or len", "if len"),
    Mutant("evidence twice, or against the punished", C + "header.py",
           " or len(set(offenders)) < len(offenders) or set(offenders) & app.punished()", ""),
    Mutant("evidence without signatures", C + "evidence.py",
           "return same and a.vote != b.vote and a.verify() and b.verify()", "return same and a.vote != b.vote"),
    Mutant("amnesia looks at no valid round", C + "votes.py",
           "prevote.valid_round < precommit.round < prevote.round", "precommit.round < prevote.round"),
    Mutant("offenders stay in the set", "p2p/ledger/participants/validator_sets.py", " and node not in out", ""),
    Mutant("sync takes any certificate", C + "driver.py",
           "            and verify_commit(certificate, self._network, self.validators)\n", ""),
    Mutant("state is not part of the transaction", "p2p/chain/chain.py",
           '        batch.put("meta", TIP, encode(tip))\n        self.store.commit(batch)\n'
           '        self.state.move_to',
           '        self.store.commit(batch)\n        late = Batch()\n        late.put("meta", TIP, encode(tip))\n'
           "        self.store.commit(late)\n        self.state.move_to"),
    Mutant("body: another one under a signature", C + "message_checks.py",
           "return covered and is_right_claim(message", "return is_right_claim(message"),
    Mutant("body: the list is not checked", C + "compact.py", "return covered and is_right_claim(self",
           "return is_right_claim(self"),
    Mutant("body: what was fetched is not checked", C + "compact.py",
           " or any(\n"
           "            leaf_hash(raw) != self._leaves[place] for place, raw in zip(places, txs, strict=True)\n"
           "        )", ""),
    Mutant("body: fetched for anything", C + "bodies.py", "if not self._is_of_use(view, signed):", "if False:"),
    Mutant("body: many fetches from one", C + "bodies.py",
           "            if peer not in self._busy and peer not in self._liars and",
           "            if"),
    Mutant("body: a source that failed is asked for ever", C + "bodies.py",
           "self._liars and peer not in assembly.tried", "self._liars"),
    Mutant("time: judged with a polka too", C + "machine.py",
           "proposal_with_polka(block_id, pol_round, valid=valid)",
           "proposal_with_polka(block_id, pol_round, valid=valid and (self.round, block_id) not in self.untimely)"),
    Mutant("time: untimely is kept as invalid", C + "proposal_check.py",
           "return Judged(signed, valid, timely)", "return Judged(signed, valid and timely, timely)"),
    Mutant("time: not judged", C + "machine.py", "valid=valid and timely)", "valid=valid)"),
    Mutant("time: by when the queue came to it", C + "driver.py", "event.proposal, event.at_ms",
           "event.proposal, self.clock()"),
    Mutant("time: judged again after a crash", C + "replay.py", "plain[1], plain[2])", "plain[1])"),
    Mutant("a far round is looked up", C + "machine.py", "if not self.is_near(proposal.round) or ", "if "),
    Mutant("a round certificate counts within the bound only", C + "machine.py",
           "[self.votes.add_of_round(vote)", "[self.votes.add(vote, self.round)"),
    Mutant("other heights are passed on", C + "inbox.py",
           "        if view is None:\n            return IGNORED",
           "        if view is None:\n            return Outcome.ACCEPT, None"),
    Mutant("repeats are passed on", C + "inbox.py",
           "        if not self.may_pass(content):\n            return IGNORED\n        if not is_right",
           "        if not is_right"),
    Mutant("a certificate may name a sender twice", C + "certificates.py", "all(a < b for", "all(a <= b for"),
    Mutant("a known vote under another signature is believed", C + "votes.py",
           "return self.first(vote.validator, vote.round, vote.type) == signed",
           "known = self.first(vote.validator, vote.round, vote.type)\n"
           "        return known is not None and known.vote == vote"),
    Mutant("votes: every relay hands on", C + "vote_exchange.py", "            if item.via > extra and not",
           "            if not"),
    Mutant("votes: a dead relay is waited for for ever", C + "vote_exchange.py",
           "                self._agenda.put(now + self.wait.ms, Step.OFFER, item, extra + 1)", "                pass"),
    Mutant("votes: a question is answered as often as it is asked", C + "vote_exchange.py",
           "if pool is None or now < neighbour.may_ask_ms:", "if pool is None:"),
    Mutant("votes: repeats put a question off", C + "vote_exchange.py",
           "        if news is not None:  # what others", "        if True:  # what others"),
    Mutant("votes: news put a question off for ever", C + "vote_wants.py",
           "min(now, self._since_ms + (PUT_OFF - 1) * self._wait_ms)", "now"),
    Mutant("votes: a certificate said again goes to relays only", C + "vote_exchange.py",
           "            if item.heard_ms < extra:\n                self._give_again(item)",
           "            if item.heard_ms < extra:\n                self._offer(item, now)"),
    Mutant("votes: nobody asks", C + "vote_wants.py", "return self.due_ms is not None and now >= self.due_ms",
           "return False"),
    Mutant("votes: two votes for one slot never meet", C + "vote_exchange.py", "if rank < first or (", "if ("),
    Mutant("votes: followers get none", C + "vote_exchange.py", "            self._serve_followers(old[self.height])\n",
           ""),
    Mutant("votes: what was taken once is never taken again", C + "vote_exchange.py",
           "if found is not None and not self._is_lost(found, now):", "if found is not None:"),
    Mutant("votes: any retry counter in a bundle", C + "vote_frames.py",
           'if raw[_UNPACKED - 1 : _UNPACKED] != b"\\0":', "if False:"),
    Mutant("votes: a restart forgets who has what", C + "vote_exchange.py",
           "                item.theirs &= ~bit\n                item.sent &= ~bit\n", "                pass\n"),
    Mutant("votes: relays hold none until they make a quorum", C + "vote_exchange.py",
           "hold_ms = 0 if at_once else self.wait.ms // HOLD", "hold_ms = 0"),
    Mutant("votes: relays hold all for their time", C + "vote_exchange.py",
           "        if item.slot is not None and not was_settled and item.slot in pool.settled:", "        if False:"),
    Mutant("votes: what decided a height is given once", C + "vote_answers.py",
           "    if pool.height < driver.height and (decided := pool.decided()):\n        return decided",
           "    if False:\n        return []"),
    Mutant("proposals: relays hand on none", C + "proposal_relay.py",
           "            if 0 < rank < self._pace.relays:", "            if False:"),
    Mutant("proposals: relays leave what came early", C + "proposal_relay.py",
           "        for offer in self._offers.values():\n            self._relay(offer, now)\n", ""),
    Mutant("proposals: what is early takes all places", C + "proposal_relay.py",
           "(a.height > height, a.height < height, -a.round)", "(a.height < height, -a.height, -a.round)"),
    Mutant("proposals: handed on before they are whole", C + "proposal_relay.py",
           "return self._driver.machine.proposal_of(offer.proposal.block_id) is not None", "return True"),
    Mutant("proposals: who voted for a block gets it again", C + "proposal_relay.py",
           " and not self._has_it(about, key):", ":"),
    Mutant("proposals: nobody who asks is given one", C + "vote_exchange.py",
           "        self.proposals.answer(neighbour, frame)\n", ""),
    Mutant("proposals: every repeat goes by streams", C + "proposal_relay.py",
           "        if offer.said == offer.meshed_at:", "        if False:"),
    Mutant("proposals: every repeat from the third on goes through the mesh", C + "proposal_relay.py",
           "            offer.meshed_at *= 2\n", "            offer.meshed_at += 1\n"),
    Mutant("client: the genesis file's hash is not signed", "p2p/base/genesis.py",
           'NetworkId(f"{self.name}@{self.hash.hex()[:HASH_DIGITS]}")', "NetworkId(self.name)"),
    Mutant("client: a draw of any height", "p2p/ledger/apply_record.py",
           "    if not ctx.height - DRAW_WINDOW <= request.draw_height < ctx.height:\n",
           "    if not request.draw_height < ctx.height:\n"),
    Mutant("client: an agent takes a draw of any age", "p2p/peer/agent.py",
           "if not height - BEACON_MAX_AGE <= request.draw_height <= height:", "if False:"),
    Mutant("client: a nonce far ahead is taken", "p2p/ledger/state/records.py", "-MAX_NONCE_AHEAD <= behind < 0",
           "behind < 0"),
    Mutant("client: a nonce on a peer's word", "p2p/client/tip_proof.py", "<= offered <= last + NONCES_ON_WORD:",
           "<= offered:"),
    Mutant("hearsay drives out what was seen", N + "discovery/book.py", "for lower in range(rank + 1):",
           "for lower in (2, 1, 0):"),
    Mutant("strangers get the whole budget", N + "connections/budget.py",
           "total = b.total if ours else b.total - b.total // 4", "total = b.total"),
    Mutant("items are not counted", "p2p/base/codec.py", "                left_to_announce -= left\n", ""),
    Mutant("a price counts what comes back", "p2p/ledger/money/outcomes.py",
           "        credit(ctx.view, entry.client, amount)\n",
           "        credit(ctx.view, entry.client, amount)\n        used_by(ctx, entry.request.model, 50)\n"),
    Mutant("a price counts what one asks of oneself", "p2p/ledger/money/outcomes.py",
           "    if ctx.view.owner_of(entry.executor) != entry.client:", "    if True:"),
    Mutant("who came last goes first", "p2p/ledger/participants/places.py",
           "one.node in committed, one.active, one.node", "one.node in committed, -one.active, one.node"),
    Mutant("who withholds bodies is heard for ever", C + "bodies.py",
           "(proposal in claims or machine.has_room(proposal, claims))", "True"),
    Mutant("two claims without bodies convict nobody", C + "bodies.py", "if len(claims) == PROPOSALS_PER_ROUND:",
           "if False:"),
    Mutant("late conflicts are proved again and again", C + "driver.py",
           "known = self.evidence.offenders() | self._app.punished()",
           "known: frozenset[bytes] = frozenset()"),
    Mutant("who loses its place goes at once", "p2p/ledger/participants/registry.py", "    places.check_room(ctx)\n",
           "    places.check_room(ctx)\n"
           "    over = len(ctx.view.ids(b'parts')) + 1 - places.MAX_PARTICIPANTS\n"
           "    [_let_go(ctx.view, p) for p in places.first_to_go(ctx, over)]\n"),
    Mutant("a sender that is gone stops the chain", "p2p/chain/execution.py",
           "    if participant is None or batch.nonce != participant.batch_nonce + 1:\n        return False\n",
           "    assert participant is not None\n"),
    Mutant("a vote weighs what its account has given away", "p2p/ledger/governance.py",
           "weight=min(cast.weight, _counts(ctx.view, cast.account))", "weight=cast.weight"),
    Mutant("a sender that is not known here is somebody's fault", "p2p/chain/tx_pool.py",
           'raise Unavailable(\n                "the sender is no participant',
           'raise RemoteProtocolError(\n                "the sender is no participant'),
    Mutant("batches of any number are kept", "p2p/chain/tx_pool.py",
           "if batch.nonce > participant.batch_nonce + MAX_BATCHES_AHEAD:", "if False:"),
    Mutant("a content is handed on again and again", "p2p/chain/tx_pool.py",
           "return Outcome.ACCEPT if self.mempool.is_news(raw, self._state.height()) else Outcome.IGNORE",
           "return Outcome.ACCEPT"),
    Mutant("who hands an order in decides how often it is said", "p2p/chain/account_transactions.py",
           "return raw if new else None, answer", "return raw, answer"),
    Mutant("signatures of transactions are not verified", "p2p/chain/tx_pool.py",
           "                check_signature(self._state.genesis, tx)\n        except RemoteProtocolError",
           "                pass\n        except RemoteProtocolError"),
    Mutant("a block may hold an order twice", "p2p/chain/tx_pool.py", "if place in ordered:", "if False:"),
    Mutant("who comes first keeps all the room", "p2p/chain/mempool.py",
           "if (-cost, -stake) <= mine:", "if True:"),
    Mutant("participants without weight share the room of those with it", "p2p/chain/tx_pool.py",
           "Share.WEIGHTY if participant.weight > 0 else Share.WEIGHTLESS", "Share.WEIGHTLESS"),
    Mutant("what waits behind a gap waits long", "p2p/chain/mempool.py",
           "waits = TX_TTL_HEIGHTS if nonce <= reached else GAP_TTL_HEIGHTS", "waits = TX_TTL_HEIGHTS"),
    Mutant("withheld is counted as invalid", "p2p/ledger/state/committee.py",
           "return self.kind is not VerdictKind.WITHHELD", "return True"),
    Mutant("a free key's word counts", "p2p/ledger/conduct/executor_conduct.py",
           "        if not owner_weight(ctx, other):\n            continue", "        if False:\n            continue"),
    Mutant("blame needs no stake", "p2p/ledger/conduct/executor_conduct.py",
           "for now in {ctx.view.node_now(other) for other in accusers}) > others",
           "for now in {ctx.view.node_now(other) for other in accusers}) >= 0"),
    Mutant("an outage counts as often as it hits", "p2p/ledger/conduct/validator_conduct.py",
           "(missed and drawn <= conduct.missed_at)", "False"),
    Mutant("one committee strikes alone", "p2p/ledger/inferences/decision.py",
           "heard_twice = _was_heard(ctx, entry.inference)", "heard_twice = True"),
    Mutant("anybody starts a request that it reads", "p2p/ledger/apply_record.py",
           "if not request.may_be_started_by(sender):", "if False:"),
    Mutant("what nobody could get is not fined", "p2p/ledger/inferences/withheld.py",
           "        epoch_accounts.fine(ctx, entry.inference)\n", ""),
    Mutant("a client's doing is its agent's", "p2p/peer/agent_credit.py",
           "                work.end = End.CLIENT\n", "                work.end = End.AGENT\n"),
    Mutant("an agent that breaks off has had nothing", "p2p/peer/executor.py", "            usage.used += 1\n", ""),
    Mutant("an agent that breaks off begins anew", "p2p/peer/agent_credit.py", "(work.left or work.failed)", "False"),
    Mutant("an agent that breaks off is good", "p2p/peer/agent_credit.py", "        if work.left:  # until",
           "        if False:  # until"),
    Mutant("busy on chain as often as an agent likes", "p2p/peer/executor.py",
           "if self._excused.first(forward.signed_request.inference_id):", "if True:"),
    Mutant("a provoked busy makes another the only one silent", "p2p/ledger/money/outcomes.py",
           " and NOBODY not in inference.busy", ""),
    Mutant("one account has all the waits for a Start", "p2p/peer/start_first.py", ">= WAITING_OF_ACCOUNT:", "> 1000:"),
    Mutant("client: an agent asks whom it likes", "p2p/client/way.py",
           " or accepted.candidates[at : at + 1] != (frame.node,)", ""),
    Mutant("a plant spoils any answer", "p2p/peer/fault_injector.py", " or self._next[0] != inference_id", ""),
    Mutant("a wrong payload is taken", "p2p/peer/payload_sources.py",
           "if artifact.root() == claim.finish.artifact_root else None", ""),
    Mutant("guard marker before the guard", "p2p/chain/stores/guard.py",
           "        self._store.commit(batch)\n        if guard is not None:\n",
           "        self._mark()\n        self._store.commit(batch)\n        if guard is not None:\n"),
    Mutant("answers: candidates may be said twice", V + "check.py", "        if len(set(ids)) < many:\n",
           "        if False:\n"),
    Mutant("answers: ids beyond the vocabulary", V + "check.py",
           "        if max(position.token, *ids) >= vocabulary:\n", "        if False:\n"),
    Mutant("answers: others' losses count", V + "check.py", "artifact.header.seed)[own:]", "artifact.header.seed)"),
    Mutant("answers: what was taken over is not signed", V + "streamed.py",
           "chain != record.chain or not is_signed(streamed, network)",
           "chain != record.chain"),
    Mutant("answers: an end may be gone on from", "p2p/peer/beginning.py",
           " or any(token in ends for token in forward.prefix)", ""),
    Mutant("answers: two to one request", "p2p/peer/executor.py",
           "if self.admission.is_running(inference_id) or self.payloads.read(inference_id) is not None:", "if False:"),
    Mutant("answers: more than there are places for", "p2p/peer/admission.py", "if len(self._keys) >= self.most:",
           "if False:"),
    Mutant("unseen tokens under penalties are forgotten", V + "statistics.py",
           "dtype=np.bool_)\n    penalties =", "dtype=np.bool_)\n    return everything\n    penalties ="),
    Mutant("links: whoever dials us fills our slots", N + "discovery/slots.py", "if one.outbound and one.greeted)",
           "if one.greeted)"),
    Mutant("links: two slots in one wide group", N + "discovery/book.py", "if wanted <= 0 or group in taken:",
           "if wanted <= 0:"),
    Mutant("links: 256 networks of one operator", N + "connections/budget.py", "[(one, one.wide or one.group) for",
           "[(one, one.group) for"),
    Mutant("links: one operator has all places", N + "connections/door.py", ">= WIDE_PLACES:", ">= 10**6:"),
    Mutant("links: one operator fills the book", N + "discovery/book.py",
           " and group and self._by_group[group] >= MAX_KNOWN_PER_GROUP:", " and False:"),
    Mutant("links: who is offline forgets everybody", N + "discovery/book.py", "entry.counted += company",
           "entry.counted += 1"),
    Mutant("links: nobody is forgotten", N + "discovery/book.py", "if entry.counted and self._is_gone(entry, now):",
           "if False:"),
    Mutant("links: anchors are dialled again and again", N + "discovery/book.py",
           "self.anchors = tuple(anchor for anchor in self.anchors if anchor != peer)", "pass"),
    Mutant("links: both validators dial at once", N + "discovery/slots.py",
           "if is_first(self._me, p) or ", "if True or "),
    Mutant("links: the second validator never dials", N + "discovery/slots.py",
           " or now - since >= PARTNER_TURN_S}", "}"),
    Mutant("links: dials without a pace", N + "connections/pace.py", "self._left -= 1.0", "pass"),
    Mutant("links: silence by the clock", N + "discovery/keeping.py",
           "for p in linked), own_time())", "for p in linked), now)"),
    Mutant("links: a busy connection is pinged", N + "connections/pulse.py",
           "if silent_s < interval_s and self.rtt():", "if False:"),
    Mutant("links: the bootstrap first", N + "discovery/keeping.py", "(late or not len(self._net.book))", "True"),
    Mutant("late: deadlines of the clock", "p2p/machine/deadlines.py", "self.seconds + lost_s - self.lost_s,",
           "self.seconds,"),
    Mutant("late: deadlines without an end", "p2p/machine/deadlines.py", ", self.seconds * MAX_STRETCH)",
           ", 10**9 + lost_s)"),
    Mutant("pace: a dead proposer slows all down", C + "pacing.py",
           "any(machine.validity.get(one.proposal.block_id, False) for one in machine.proposals.get(number, ()))",
           "True"),
    Mutant("pace: no way back", C + "pacing.py", "elif round_ <= 0 and 2 * took_ms <= self._round_ms():",
           "elif False:"),
    Mutant("pace: a timeout beyond the delay (Y)", C + "pacing.py", "return min(longest, ", "return max(1, "),
    Mutant("finish: anybody drawn, asked or not", "p2p/ledger/apply_record.py",
           "if not by_agent and finish.executor != asked:", "if False:"),
    Mutant("gossip: what is wrong is to its senders' credit", G + "topic_score.py",
           "invalid_message_deliveries_weight * self._invalid**2",
           "invalid_message_deliveries_weight * -(self._invalid**2)"),
    Mutant("gossip: only who came first answers for what is wrong", G + "messages.py",
           "            for sender in judging.senders:\n                self._neighbours.rejected",
           "            for sender in judging.senders[:1]:\n                self._neighbours.rejected"),
    Mutant("gossip: a GRAFT within the back-off is taken", G + "mesh.py", "        if now < until:  # MESH-8\n",
           "        if False:\n"),
    Mutant("gossip: we graft within the back-off", G + "mesh.py",
           " and self._backoffs.may_graft(topic.name, one.name, now)", ""),
    Mutant("gossip: a later PRUNE shortens a back-off", G + "backoffs.py", "= max(before, until)", "= until"),
    Mutant("gossip: what came before a GRAFT is not told", G + "mesh.py",
           "        one.behind = self._params.history_gossip\n", ""),
    Mutant("gossip: nobody is asked again", G + "router.py", "        self._gossip.ask_again(now)\n", ""),
    Mutant("gossip: what came is asked for again", G + "gossip.py", "        self._asked.came(id_)\n", ""),
    Mutant("gossip: full meshes of silent members are closed", G + "mesh.py",
           "elif self._needs(topic, one)", "elif False"),
    Mutant("gossip: any stranger breaks into a full mesh", G + "mesh.py",
           "one.score >= self._params.thresholds.opportunistic_graft >",
           "self._params.thresholds.opportunistic_graft >"),
    Mutant("gossip: a flood of connections drives our gossip away", G + "gossip.py",
           "min(len(dialled), params.degree_lazy // 2)", "0"),
    Mutant("gossip: what nobody brought is expected", G + "topic_score.py",
           "min(params.mesh_message_deliveries_threshold, share * self._accepted)",
           "params.mesh_message_deliveries_threshold"),
    Mutant("gossip: IHAVEs are not counted", G + "gossip.py", " or one.offers > params.max_ihave_messages", ""),
    Mutant("gossip: ids that are asked for are not counted", G + "gossip.py",
           "            one.asked_ids += len(asked)\n", ""),
    Mutant("gossip: a broken promise costs nothing", G + "gossip.py",
           "                self._neighbours.penalise(one, times, now)", "                pass"),
    Mutant("gossip: a message is sent to whoever asks, for ever", G + "message_cache.py",
           "        if counts.get(peer, 0) >= most:\n            return False\n", ""),
    Mutant("gossip: what was accepted is not remembered", G + "messages.py", "        self._seen.add(id_, now)\n", ""),
    Mutant("gossip: what was ignored is remembered", G + "messages.py",
           "                    one.ignore(id_, now)\n",
           "                    one.ignore(id_, now)\n            self._seen.add(id_, now)\n"),
    Mutant("gossip: what was ignored goes on", G + "messages.py",
           "if outcome is Outcome.ACCEPT:", "if outcome is not Outcome.REJECT:"),
    Mutant("gossip: the graylisted are heard", G + "router.py",
           "if one.score < self._params.thresholds.graylist:\n            self._graylisted",
           "if False:\n            self._graylisted"),
    Mutant("gossip: votes are shed", G + "outbound.py", "- 1, Priority.VOTES, -1):", "- 1, Priority.VOTES - 1, -1):"),
    Mutant("gossip: the newest is shed", G + "outbound.py", "self.bytes -= waiting.popleft()[2]",
           "self.bytes -= waiting.pop()[2]"),
    Mutant("gossip: nobody is kept because we dialled it", G + "mesh.py",
           "        for one in [one for one in lost if one.dialled][: max(0, lacking)]:",
           "        for one in lost[:0]:"),
    Mutant("gossip: a full mesh takes in everybody", G + "mesh.py",
           "len(topic.mesh) < p.degree_high or one.dialled or (one.wanted and topic.lacks_wanted())", "True"),
    Mutant("gossip: votes wait as others do", G + "router.py",
           "self._topics[topic].priority is Priority.VOTES", "False"),
    Mutant("gossip: all the wanted are in every mesh", G + "topic.py",
           "return max(0, self._degree - sum(", "return max(0, 99 - sum("),
    Mutant("gossip: nobody leaves a full mesh for a better one", G + "mesh.py",
           "strangers[: max(0, surplus)]", "strangers[:0]"),
    Mutant("gossip: anybody names peers to dial", G + "exchange.py",
           "if one.score < params.thresholds.accept_exchange:", "if False:"),
    Mutant("gossip: the wanted hear what the mesh hears", G + "topic.py",
           "[*self.mesh.values(), *more]", "[*self.mesh.values()]"),
)

MONEY = ("tests/ledger/money/test_requests.py", "tests/ledger/money/test_price.py",
         "tests/ledger/participants/test_places.py", "tests/ledger/test_governance.py")
# tests that look first for a mutant of verification, inference or the executor
ANSWERS = ("tests of answers", [
    "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/verification/test_check.py",
    "tests/verification/test_handover.py", "tests/peer/test_executor.py", "tests/peer/test_breaking_off.py",
    "tests/peer/test_start_first.py", "tests/client/test_way.py", "tests/verification/test_penalties.py",
])
# tests that look first for a mutant of the gossip router
GOSSIP = ("tests of gossip", ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/gossipsub"])
STRANGERS = (
    "tests/gossip/discovery/test_book.py", "tests/gossip/connections/test_budget.py",
    "tests/gossip/discovery/test_slots.py", "tests/gossip/discovery/test_keeping.py",
    "tests/machine/test_deadlines.py", "tests/wire/test_frame_limits.py",
    "tests/chain/test_transactions.py", "tests/chain/test_account_transactions.py", "tests/chain/test_mempool.py",
    "tests/chain/test_full_registry.py",
    "tests/client/test_tip_proof.py", "tests/base/test_network_id.py",
)
BLAME = (
    "tests/ledger/inferences/test_finish.py", "tests/ledger/inferences/test_withheld.py",
    "tests/ledger/conduct/test_blame.py", "tests/peer/test_agent_credit.py",
    "tests/peer/test_fault_injector.py",
    "tests/peer/test_payload_sources.py",
)
STAGES = (
    ("unit tests", ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/consensus",
                    "tests/chain/test_chain.py", *STRANGERS, *BLAME, *MONEY]),
    ("conformance", ["-m", "tests.conformance"]),
    ("simulation", ["-m", "tests.sim", "--fail-fast", "--seeds"]),
)


def killer(tree: Path, seeds: int, file: str = "") -> str:
    """The stage that fails on this tree, '' when the mutant survives. file: the one that was changed, '' for none."""
    env = {**os.environ, "PYTHONPATH": str(tree), "FOLKMOOT_VECTORS": str(folder())}
    answers = file.startswith((V, INF, "p2p/peer/executor", "p2p/peer/admission"))
    first = [stage for stage, here in ((ANSWERS, answers), (GOSSIP, file.startswith(G))) if here or not file]
    for name, argv in (*first, *STAGES):
        command = [sys.executable, *argv, *([str(seeds)] if argv[-1] == "--seeds" else [])]
        if subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=7200, check=False).returncode:
            return name
    return ""


def check(mutant: Mutant | None, seeds: int) -> str:
    """The stage that fails on a copy of the tree with `mutant` in it (None: unchanged), '' when none does."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-mutant-") as place:
        tree = Path(place) / "tree"
        for part in ("p2p", "tests", "testnet", "bootstrap"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        if mutant is None:
            return killer(tree, seeds)
        file = tree / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:  # in a second place it would remove another safeguard than it names
            what = f"mutant {mutant.name!r} fits {text.count(mutant.old)} places of {mutant.file}"
            raise SystemExit(f"{what}: bring its quote up to date")
        file.write_text(text.replace(mutant.old, mutant.new, 1))
        return killer(tree, seeds, mutant.file)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=400, help="of the simulation (default: %(default)s)")
    parser.add_argument("--only", default="", help="a part of the names of the mutants to try (default: all)")
    parser.add_argument(
        "--part", default="1/1", metavar="I/N", help="every N-th mutant from the I-th on, for several processes"
    )
    options = parser.parse_args()
    if stage := check(None, options.seeds):  # else every mutant would seem to be killed
        raise SystemExit(f"{stage} fail with nothing changed: nothing can be said of mutants")
    print("nothing changed: all stages pass", flush=True)
    survivors = []
    part, parts = map(int, options.part.split("/"))
    wanted = [m for m in MUTANTS if options.only in m.name][part - 1 :: parts]
    for number, mutant in enumerate(wanted, 1):
        started = time.monotonic()
        stage = check(mutant, options.seeds)
        fate = f"killed by {stage}" if stage else "SURVIVES"
        print(f"{number:3}/{len(wanted)}  {mutant.name:44} {fate:24} {time.monotonic() - started:5.0f} s", flush=True)
        if not stage:
            survivors.append(mutant.name)
    names = f"; survivors: {', '.join(survivors)}" if survivors else ""
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} mutants killed{names}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
