"""The control page: a person rehearses what card holders, banks, the network and time do, without a command line.

Plain forms and no script. It listens where the stand-in does, on loopback; a form counts only when the page itself sent
it: its `Origin` must be the address it is served from, and it carries a token that no other page can read.
"""

from __future__ import annotations

import hmac
import html
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from sandbox.stripe import rules
from sandbox.stripe.control import Control
from sandbox.stripe.errors import Fields
from sandbox.stripe.state import State

ADDRESS = "/_sandbox/"
ACTION = "/_sandbox/page"
STYLE = "/_sandbox/page.css"
STYLE_FILE = Path(__file__).with_name("static") / "control.css"

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # Anything stricter would make browsers send "Origin: null" with the page's own forms.
    "Referrer-Policy": "same-origin",
}

PAYMENTS_SHOWN = 20
CARDS_SHOWN = 10
RELATED_READ = 500
DAY_SECONDS = rules.DAY_SECONDS
MONTH_SECONDS = 30 * DAY_SECONDS
ATTEMPTS_OF_ONE_CALL = 3
"""The console's SDK sends a call up to three times; a fault that is to be felt must strike each."""

_DISPUTE_WORDS = {
    "needs_response": "Make it a dispute",
    "under_review": "Evidence sent",
    "won": "Win",
    "lost": "Lose",
    "prevented": "Prevent",
    "warning_under_review": "Under review",
    "warning_closed": "Close inquiry",
}
_REFUND_WORDS = {"succeeded": "Succeed", "failed": "Fail"}


class Forbidden(Exception):
    """A form that this page didn't send."""


class ControlPage:
    """The page of one stand-in, and what its buttons do."""

    def __init__(self, *, state: State, control: Control) -> None:
        self._state = state
        self._control = control
        self._token = secrets.token_urlsafe(32)
        self._said = ""
        self._is_refusal = False
        self._actions: dict[str, Callable[[Mapping[str, str]], str]] = {
            "dispute": self._dispute,
            "change_dispute": self._change_dispute,
            "warn": self._warn,
            "refund": self._refund,
            "change_refund": self._change_refund,
            "settle": self._settle,
            "next": self._next,
            "forget": self._forget,
            "clock": self._clock,
            "webhooks": self._webhooks,
            "card": self._card,
        }

    def act(self, form: Mapping[str, str], *, origin: str | None, host: str) -> None:
        """Do what a button says and remember the words for the page. Raises `Forbidden` for a form of another page."""
        if origin != f"http://{host}" or not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise Forbidden
        action = self._actions.get(form.get("do", ""))
        self._is_refusal = False
        try:
            self._said = action(form) if action else "Nothing was done: there is no such button."
        except (ValueError, KeyError) as error:
            self._said = f"Nothing was done: {error}."
            self._is_refusal = True

    # What the buttons do.

    def _dispute(self, form: Mapping[str, str]) -> str:
        dispute = self._control.open_dispute(form["payment"], status=form["status"])
        return f"{dispute} was opened."

    def _change_dispute(self, form: Mapping[str, str]) -> str:
        self._control.change_dispute(form["dispute"], status=form["status"])
        return f"{form['dispute']} is now {form['status']}."

    def _warn(self, form: Mapping[str, str]) -> str:
        return f"{self._control.warn_of_fraud(form['payment'])}: the issuer has warned of fraud."

    def _refund(self, form: Mapping[str, str]) -> str:
        amount = _cents(form.get("amount", ""))
        return f"{self._control.refund_in_dashboard(form['payment'], amount=amount)} was made in the dashboard."

    def _change_refund(self, form: Mapping[str, str]) -> str:
        self._control.change_refund(form["refund"], status=form["status"])
        return f"{form['refund']} is now {form['status']}."

    def _settle(self, form: Mapping[str, str]) -> str:
        self._control.settle_processing(form["payment"], succeeds=form["outcome"] == "succeed")
        return f"The bank has answered for {form['payment']}."

    def _next(self, form: Mapping[str, str]) -> str:
        fault = {"method": "POST", "path": "/v1/payment_intents", "times": ATTEMPTS_OF_ONE_CALL}
        match form["what"]:
            case "decline":
                self._control.decline_payments()
                return "The next charge will be declined."
            case "process":
                self._control.hold_payments()
                return "The next charge will stay in processing until you settle it below."
            case "lose_answer":
                self._control.add_fault("cut_after", **fault)
                return "The next charge will be made, and its answer lost."
            case "unreachable":
                self._control.add_fault("cut_before", **fault)
                return "The next charge will not reach Stripe."
            case "hold_refund":
                self._control.hold_refunds()
                return "The next refund will be pending until you settle it below."
        raise ValueError("there is no such order")

    def _forget(self, form: Mapping[str, str]) -> str:
        self._control.forget_orders()
        return "Nothing is ordered any more."

    def _clock(self, form: Mapping[str, str]) -> str:
        ahead = self._state.clock_offset_seconds
        moved = {"day": ahead + DAY_SECONDS, "month": ahead + MONTH_SECONDS, "now": 0.0}[form["to"]]
        self._control.move_clock(offset_seconds=moved)
        return f"Stripe's clock says {_when(self._state.now())}."

    def _webhooks(self, form: Mapping[str, str]) -> str:
        if form["what"] == "pause":
            self._control.webhooks.pause()
            return "Events are held back."
        self._control.webhooks.resume()
        return "Events are delivered again."

    def _card(self, form: Mapping[str, str]) -> str:
        card = form["card"]
        match form["what"]:
            case "expire":
                self._control.expire_card(card)
                return f"{card} has expired."
            case "renew":
                year = datetime.fromtimestamp(self._state.now(), tz=UTC).year + 4
                self._control.update_card(card, exp_year=year)
                return f"{card} was renewed by its network."
            case "decline":
                self._control.update_card(card, behaves_like="4000000000000341")
                return f"{card} was replaced by one that declines."
            case "detach":
                self._control.detach_card(card)
                return f"{card} was removed in the dashboard."
        raise ValueError("there is no such button")

    # What it looks like.

    def html(self) -> str:
        """The page as it is now. What was said last is said once."""
        said, self._said = self._said, ""
        with self._state.lock:
            parts = [
                self._words(said),
                self._orders(),
                self._time(),
                self._deliveries(),
                self._payments(),
                self._cards(),
            ]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>Stripe stand-in</title><link rel="stylesheet" href="{STYLE}"></head>'
            f"<body><main>{''.join(parts)}</main></body></html>"
        )

    def _words(self, said: str) -> str:
        kind = "refusal" if self._is_refusal else "done"
        told = f'<p class="{kind}" role="status">{html.escape(said)}</p>' if said else ""
        return (
            "<h1>Stripe stand-in</h1><p>What card holders, banks and people in Stripe&rsquo;s dashboard do. No money "
            f"moves, and nothing here reaches Stripe.</p>{told}"
        )

    def _orders(self) -> str:
        waiting = [f"{count} {words}" for count, words in self._control.ordered()]
        told = f"Ordered: {'; '.join(waiting)}." if waiting else "Nothing is ordered."
        buttons = [
            self._button("Decline it", do="next", what="decline"),
            self._button("Keep it in processing", do="next", what="process"),
            self._button("Make it, lose the answer", do="next", what="lose_answer"),
            self._button("Don’t let it arrive", do="next", what="unreachable"),
            self._button("Keep the next refund pending", do="next", what="hold_refund"),
        ]
        if waiting:
            buttons.append(self._button("Forget all orders", do="forget"))
        return f"<section><h2>The next charge</h2><p>{told}</p><div class=row>{''.join(buttons)}</div></section>"

    def _time(self) -> str:
        days = round(self._state.clock_offset_seconds / DAY_SECONDS)
        ahead = f", {days} days ahead" if days else ""
        return (
            f"<section><h2>Time</h2><p>Stripe&rsquo;s clock says {_when(self._state.now())}{ahead}.</p>"
            "<p>Only Stripe&rsquo;s clock moves: idempotency keys grow old, pending refunds settle, deliveries that "
            "failed are tried again, cards expire. The console and its ledger keep the real time: no credit expires by "
            "it, and auto-reload waits as long as before.</p>"
            f"<div class=row>{self._button('A day later', do='clock', to='day')}"
            f"{self._button('A month later', do='clock', to='month')}"
            f"{self._button('Back to the real time', do='clock', to='now') if days else ''}</div></section>"
        )

    def _deliveries(self) -> str:
        counts = self._control.webhooks.counts()
        is_paused = self._control.webhooks.is_paused
        state = "Events are held back." if is_paused else "Events are delivered as they happen."
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
        button = (
            self._button("Deliver again", do="webhooks", what="resume")
            if is_paused
            else self._button("Hold back", do="webhooks", what="pause")
        )
        return f"<section><h2>Webhooks</h2><p>{state} So far: {told}.</p><div class=row>{button}</div></section>"

    def _payments(self) -> str:
        disputes = _by_charge(islice(self._state.newest_first("dispute"), RELATED_READ))
        refunds = _by_charge(islice(self._state.newest_first("refund"), RELATED_READ))
        rows = [
            self._payment(intent, disputes.get(intent["latest_charge"], []), refunds.get(intent["latest_charge"], []))
            for intent in islice(self._state.newest_first("payment_intent"), PAYMENTS_SHOWN)
        ]
        return f"<section><h2>Payments</h2>{''.join(rows) or '<p>None yet. Buy credits in the console.</p>'}</section>"

    def _payment(self, intent: Fields, disputes: list[Fields], refunds: list[Fields]) -> str:
        card = self._state.find("payment_method", intent["payment_method"] or "")
        ends = f", card {html.escape(card['card']['last4'])}" if card else ""
        error = (intent["last_payment_error"] or {}).get("message")
        why = f"<p class=soft>{html.escape(error)}</p>" if error else ""
        return (
            f"<article><h3>{_dollars(intent['amount'])} <span class=state>{html.escape(intent['status'])}</span></h3>"
            f"<p class=soft>{html.escape(intent['description'] or 'Payment')}{ends}, {_when(intent['created'])}, "
            f"<code>{intent['id']}</code></p>{why}{self._things(disputes, refunds)}"
            f"{self._ways(intent, disputes)}</article>"
        )

    def _things(self, disputes: list[Fields], refunds: list[Fields]) -> str:
        shown = [
            f"<li><span>Dispute of {_dollars(dispute['amount'])} "
            f"<span class=state>{dispute['status']}</span></span>"
            + "".join(
                self._button(words, do="change_dispute", dispute=dispute["id"], status=status)
                for status, words in _DISPUTE_WORDS.items()
                if status in rules.DISPUTE_AFTER[dispute["status"]]
            )
            + "</li>"
            for dispute in disputes
        ]
        shown += [
            f"<li><span>Refund of {_dollars(refund['amount'])} <span class=state>{refund['status']}</span></span>"
            + "".join(
                self._button(words, do="change_refund", refund=refund["id"], status=status)
                for status, words in _REFUND_WORDS.items()
                if status in rules.REFUND_AFTER[refund["status"]]
            )
            + "</li>"
            for refund in refunds
        ]
        return f"<ul>{''.join(shown)}</ul>" if shown else ""

    def _ways(self, intent: Fields, disputes: list[Fields]) -> str:
        payment = intent["id"]
        if intent["status"] == "processing":
            return (
                f"<div class=row>{self._button('Succeed', do='settle', payment=payment, outcome='succeed')}"
                f"{self._button('Decline', do='settle', payment=payment, outcome='decline')}</div>"
            )
        if intent["status"] != "succeeded":
            return ""
        charge = self._state.get("charge", intent["latest_charge"])
        left = charge["amount"] - charge["amount_refunded"]
        ways = [self._button("Warn of fraud", do="warn", payment=payment)]
        if left and all(dispute["status"] in rules.DISPUTE_CLOSED for dispute in disputes):
            ways[:0] = [
                self._button(words, do="dispute", payment=payment, status=status)
                for words, status in (
                    ("Open a dispute", "needs_response"),
                    ("Open an inquiry", "warning_needs_response"),
                )
            ]
        if left and all(dispute["is_charge_refundable"] for dispute in disputes):
            name = f"amount-{payment}"
            field = (
                f'<label for="{name}">Dollars</label><input id="{name}" name="amount" inputmode="decimal" '
                f'placeholder="{_dollars(left)[1:]}" size="7">'
            )
            ways.append(self._button("Refund in the dashboard", field=field, do="refund", payment=payment))
        return f"<div class=row>{''.join(ways)}</div>"

    def _cards(self) -> str:
        saved = (method for method in self._state.newest_first("payment_method") if method["customer"])
        rows = [
            f"<article><h3>{html.escape(method['card']['brand'])} {html.escape(method['card']['last4'])} "
            f"<span class=state>{method['card']['exp_month']:02d}/{method['card']['exp_year']}</span></h3>"
            f"<p class=soft><code>{method['id']}</code></p><div class=row>"
            + "".join(
                self._button(words, do="card", card=method["id"], what=what)
                for what, words in (
                    ("renew", "Renew by the network"),
                    ("expire", "Expire"),
                    ("decline", "Let it decline"),
                    ("detach", "Remove in the dashboard"),
                )
            )
            + "</div></article>"
            for method in islice(saved, CARDS_SHOWN)
        ]
        return f"<section><h2>Saved cards</h2>{''.join(rows) or '<p>None yet.</p>'}</section>"

    def _button(self, words: str, *, field: str = "", **values: str) -> str:
        inputs = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
            for name, value in {"token": self._token, **values}.items()
        )
        return f'<form method="post" action="{ACTION}">{inputs}{field}<button>{html.escape(words)}</button></form>'


def _by_charge(things: Iterable[Fields]) -> dict[str, list[Fields]]:
    found: dict[str, list[Fields]] = {}
    for thing in things:
        found.setdefault(thing["charge"], []).append(thing)
    return found


def _cents(text: str) -> int | None:
    """An amount in dollars as cents; None where nothing was typed. ValueError for what is no amount."""
    text = text.strip().removeprefix("$")
    if not text:
        return None
    whole, _, part = text.partition(".")
    if not (text.isascii() and whole.isdigit() and len(whole) <= 6 and (part.isdigit() or not part) and len(part) <= 2):
        raise ValueError(f"“{text}” is no amount in dollars")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%-d %b %Y, %H:%M UTC")
