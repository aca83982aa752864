"""chat: a conversation with a model, turn by turn, over the network.

Law: Ctrl-C stops an answer and never the program, Ctrl-D leaves. What each answer costs, who gave it, and what
validators said of it stand beside it. Every turn is one session, so that the executor's cache has the earlier ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest
from p2p.base.types import ENDED, STANDS
from p2p.cli import ask
from p2p.cli.advice import advised
from p2p.cli.amounts import money
from p2p.cli.chat_lines import Lines
from p2p.cli.terminal.styled import Line, Span, put
from p2p.machine.foreign_text import line

if TYPE_CHECKING:
    from p2p.cli.conversation import Conversation
    from p2p.client.answer_proof import AnswerProof
    from p2p.client.receipt import Receipt
    from p2p.client.sync import Client

MAX_WAITING = 16  # answers whose verdict is still looked for
COMMANDS = {
    "/help": "what can be typed here", "/model": "the models and their prices; /model NAME goes on with another one",
    "/cost": "what each answer cost, and its verdict", "/prove": "/prove [FILE]: write the last answer's proof",
    "/save": "/save FILE: write the conversation as text", "/new": "forget what was said and begin again",
    "/quit": "leave; so does Ctrl-D",
}


def register(commands: Any) -> None:
    command = commands.add_parser("chat")
    ask.add_options(command)
    command.add_argument("--session", metavar="NAME", help="keep the conversation in DIR/sessions, or go on with it")
    command.set_defaults(run=run)


@dataclass(slots=True)
class Turn:
    """One answer."""

    receipt: Receipt
    proof: AnswerProof | None
    cost_micro: int
    first_s: float  # to the first token
    verdict: str = ""  # the chain's status; empty: not known yet


@dataclass(slots=True)
class Talk:
    """A running chat. show: events and lines, for people or as JSON."""

    options: argparse.Namespace
    client: Client
    conversation: Conversation
    kept: Path | None
    say: Callable[[str, dict[str, Any], list[Line]], None]
    turns: list[Turn] = field(default_factory=list)
    status: int = 0  # exit status: that of the first error, where nobody sits at a terminal

    # -- one turn ---------------------------------------------------------------------------------------------------

    def answer(self, text: str) -> None:
        """Ask, show the answer as it comes. Raises FolkmootError before anything was answered, or after."""
        from p2p.base.body import check_body
        from p2p.client.events import Done, Proved, TermsShown, Token
        from p2p.client.question import Question

        body = self.conversation.body(text)
        check_body(body, "prompt")
        question = Question(
            self.conversation.model, body, ask.sampling(self.options), self.options.max_tokens, self.options.max_price,
            self.conversation.session,
        )
        said, price_micro, proof, begun, first_s = "", 0, None, time.monotonic(), 0.0
        try:
            with self.client.answer(question) as events:
                for event in events:
                    self._event(event)
                    if isinstance(event, TermsShown):
                        price_micro, begun = event.price_micro, time.monotonic()
                    elif isinstance(event, Token):
                        first_s = first_s or time.monotonic() - begun
                        said += event.text
                    elif isinstance(event, Proved):
                        proof = event.proof
                    elif isinstance(event, Done):
                        said = event.text
                        tokens = event.receipt.prompt_tokens + event.receipt.output_tokens
                        self.turns.append(Turn(event.receipt, proof, price_micro * tokens, first_s))
                        self._answered(self.turns[-1])
        except KeyboardInterrupt:
            note = "stopped; what was streamed is paid for" if said else "stopped before anything was answered"
            self.say("stopped", {"text": said}, [(), (Span(note, "yellow"),)])
        if said:
            self.conversation.said(text, said)
            self.keep()

    def _event(self, event: Any) -> None:
        from p2p.client.events import PeerFailed, Proved, Signed, TermsShown, Token, Waiting, plain

        if isinstance(event, Signed | Proved):
            return
        if self.options.json:
            self.say("", plain(event), [])
        elif isinstance(event, Token):
            sys.stdout.write(event.text)
            sys.stdout.flush()
        elif isinstance(event, TermsShown):
            self.say("", {}, [(Span(f"  (at most {money(event.most_micro)})", "dim"),)])
        elif isinstance(event, Waiting | PeerFailed):
            self.say("", {}, [(Span(f"({line(event.reason, 200)}; waiting, or asking another peer)", "dim"),)])

    def _answered(self, turn: Turn) -> None:
        receipt = turn.receipt
        parts = [
            f"answered by {receipt.executor.hex()[:12]}", f"{receipt.output_tokens} tokens", money(turn.cost_micro),
            f"first token after {1000 * turn.first_s:,.0f} ms",
            *([f"{receipt.cached} of {receipt.prompt_tokens} prompt tokens from its cache"] if receipt.cached else []),
        ]
        shown: list[Line] = [(), (Span("  " + ", ".join(parts), "dim"),)]
        if receipt.checked:
            shown.append((Span("  receipt checked; validators look at a sample, /cost shows their verdict", "dim"),))
        else:
            shown += [(Span(f"  the receipt does not hold: {line(text, 300)}", "red"),) for text in receipt.problems]
            self.status = self.status or ask.UNCHECKED
        if not self.options.json:
            self.say("", {}, shown)

    # -- verdicts ---------------------------------------------------------------------------------------------------

    def look_for_verdicts(self) -> None:
        """Say of each earlier answer what the chain has decided since."""
        for number, turn in list(enumerate(self.turns, 1))[-MAX_WAITING:]:
            if turn.verdict in ENDED:
                continue
            try:
                found = self.client.inference(turn.receipt.inference_id)
            except FolkmootError:  # not on chain yet, or nobody answers: it is looked for again
                continue
            before, turn.verdict = turn.verdict, found.status
            if turn.verdict != before and turn.verdict in ENDED:
                style = "green" if turn.verdict in STANDS else "red"
                told = {"inference_id": found.id, "status": found.status, "reason": found.reason,
                        "refunded_micro": found.refunded_micro}
                shown: list[Span | str] = [
                    f"  answer {number}: ", Span(found.status, style), f" {line(found.reason, 200)}",
                ]
                if found.refunded_micro:
                    shown.append(f" ({money(found.refunded_micro)} came back)")
                self.say("verdict", told, [tuple(shown)])

    # -- what is typed with a slash -----------------------------------------------------------------------------------

    def command(self, text: str) -> None:
        """Raises FolkmootError."""
        name, _, rest = text.partition(" ")
        act = {
            "/help": self._help, "/model": self._model, "/cost": self._cost, "/prove": self._prove, "/save": self._save,
            "/new": self._new,
        }.get(name)
        if act is None:
            from p2p.cli.parsing import meant

            raise InvalidRequest(f"there is no {name[:40]}{meant(name, COMMANDS)}; /help lists all", field="command")
        act(rest.strip())

    def _help(self, rest: str) -> None:
        shown: list[Line] = [(Span(f"  {name:8}", "bold"), text) for name, text in COMMANDS.items()]
        shown.append(('  Ctrl-C stops an answer; a line that ends with \\ goes on in the next one',))
        self.say("help", {"commands": COMMANDS}, shown)

    def _model(self, rest: str) -> None:
        cards = self.client.models()
        if rest:
            names = [card.name for card in cards]
            if rest not in names:
                from p2p.cli.parsing import meant

                raise InvalidRequest(
                    f"the network has no model {rest[:60]!r} in use{meant(rest, names)}", field="model"
                )
            self.conversation.model = rest
        rows = [{"model": card.name, "price_micro": card.price_micro, "context_tokens": card.context_tokens,
                 "chosen": card.name == self.conversation.model} for card in cards]
        shown: list[Line] = [
            ("* " if row["chosen"] else "  ", Span(line(str(row["model"]), 96), "bold" if row["chosen"] else ""),
             f"  {row['price_micro']} micro-credits a token, {row['context_tokens']} tokens of context")
            for row in rows
        ]
        self.say("models", {"models": rows}, shown)

    def _cost(self, rest: str) -> None:
        self.look_for_verdicts()
        rows = [{"inference_id": turn.receipt.inference_id.hex(), "cost_micro": turn.cost_micro,
                 "verdict": turn.verdict or "none yet"} for turn in self.turns]
        total = sum(turn.cost_micro for turn in self.turns)
        shown: list[Line] = [
            (f"  {number}  {money(turn.cost_micro):>20}  {turn.verdict or 'no verdict yet'}  "
             f"{turn.receipt.inference_id.hex()}",) for number, turn in enumerate(self.turns, 1)
        ]
        self.say("cost", {"answers": rows, "total_micro": total}, [*shown, (f"  in all {money(total)}",)])

    def _prove(self, rest: str) -> None:
        from p2p.client.answer_proof import save_proof

        turn = self.turns[-1] if self.turns else None
        if turn is None or turn.proof is None:
            raise InvalidRequest("there is no answer yet to prove", field="command")
        file = Path(rest or f"{turn.receipt.inference_id.hex()[:16]}.proof")
        save_proof(turn.proof, file)
        self.say("proof", {"file": str(file)}, [(f"  written; check it with: folkmoot verify {file}",)])

    def _save(self, rest: str) -> None:
        from p2p.base.files import write_file

        if not rest:
            raise ConfigError("give a file: /save FILE", field="command")
        text = "\n\n".join(f"## {one.role.value}\n\n{one.content}" for one in self.conversation.messages)
        write_file(Path(rest), f"# {self.conversation.model}\n\n{text}\n".encode(), field="command")
        self.say("saved", {"file": rest}, [(f"  written: {rest}",)])

    def _new(self, rest: str) -> None:
        self.conversation.begin_again()
        self.keep()
        self.say("new", {}, [("  begun again",)])

    def keep(self) -> None:
        """Write the conversation, where it is kept."""
        if self.kept is not None:
            from p2p.cli import conversation

            conversation.save(self.kept, self.conversation)

    # -- all of it ----------------------------------------------------------------------------------------------------

    def run(self, lines: Lines) -> int:
        """Until there are no more lines. An error of one turn does not end the chat."""
        while True:
            try:
                if self.turns:
                    self.look_for_verdicts()
                text = lines.next()
                if text is None or text.strip() == "/quit":
                    return 0 if lines.interactive else self.status
                if text.startswith("/"):
                    self.command(text.strip())
                elif text.strip():
                    self.answer(text)
            except KeyboardInterrupt:
                self.say("stopped", {}, [(), (Span("(Ctrl-D leaves)", "dim"),)])
            except FolkmootError as error:
                self.status = self.status or error.exit_status
                told = {"error": {"code": error.code, "field": error.field, "message": error.message}}
                self.say("error", told, [(Span("error: ", "red"), line(advised(error), 2000))])


def run(options: argparse.Namespace) -> int:
    from p2p.cli import conversation
    from p2p.cli.arguments import multiaddr, read_id
    from p2p.cli.finding import peers_for
    from p2p.client.sync import Client
    from p2p.machine import logs

    if options.peer is not None:
        multiaddr(options.peer)
    ask.sampling(options)
    account = None if options.account is None else read_id(options.account, "account")
    genesis, peers = peers_for(options.dir, options.peer, options.network, "to check answers")
    model = ask.model_of(options.model, genesis)
    kept = None if options.session is None else conversation.file_of(options.dir, options.session)
    talk = conversation.Conversation(model) if kept is None else conversation.load(kept, options.model, model)

    def say(event: str, told: dict[str, Any], shown: list[Line]) -> None:
        if options.json:
            print(json.dumps({"event": event, **told} if event else told), flush=True)
        else:
            put(sys.stdout, shown)
            sys.stdout.flush()

    logs.configure(None, "error")
    with Client(options.dir, genesis=genesis, peers=peers, account=account) as client:
        chat = Talk(options, client, talk, kept, say)
        lines = Lines(options.dir / "chat-history", COMMANDS, quiet=options.json)
        if lines.interactive:
            balance = client.account().balance_micro
            what = f"{line(talk.model, 96)}; {money(balance)} in the account; /help, Ctrl-D leaves"
            say("", {}, [(Span(what, "dim"),)])
        return chat.run(lines)
