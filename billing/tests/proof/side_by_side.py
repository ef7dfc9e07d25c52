"""The model and the product, told the same story; whatever they disagree on is an error at that very step.

After every operation: the answer, the account, all lots, holds, new charges and entries, corrections, usage days,
unpriced usage, what a reader sees, and every invariant of the ledger.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from billing.tests.customer import Customer
from billing.tests.proof import real_ledger
from billing.tests.proof.ledger_model import (
    Account,
    Adjusted,
    Answer,
    Granted,
    LedgerModel,
    Refusal,
    Reversed,
    TakenBack,
)
from billing.tests.proof.real_ledger import Clock, Observer

Counts = Counter[tuple[str, str]]

SHIPPED_CLASSES = ("input", "output", "cache_write", "cache_read")

_CHARGES = (
    "charged, replayed, conflict, insufficient, price_missing, organization_suspended, organization_unknown,"
    " occurred_at_out_of_range"
)
# Every outcome that the model can answer, by operation; every kind of entry and event; every state of a hold.
OUTCOMES: Mapping[str, str] = {
    "authorize": (
        "authorized, replayed, conflict, insufficient, price_missing, organization_suspended, organization_unknown"
    ),
    "capture": (
        "charged, replayed, conflict, price_missing, hold_unknown, already_captured, already_voided,"
        " organization_unknown"
    ),
    "void": "voided, replayed, already_captured, hold_unknown, organization_unknown",
    "charge": _CHARGES,
    "usage": "charged, replayed, conflict, price_missing, organization_unknown, occurred_at_out_of_range",
    "charge_many": _CHARGES,
    "grant": "done, replayed, conflict, impossible",
    "expire": "booked, nothing due",
    "expire_due": "booked, nothing due",
    "reverse": "done, replayed, conflict, cause_unknown, nothing_left, too_much",
    "adjust": "done, replayed, conflict, insufficient, already_charged",
    "take_back": "done, replayed, conflict, lot_unknown, nothing_left",
    "set_state": "was open, was frozen, was closed, closed",
    "set_reload_line": "low, not low",
    "publish": "published",
    "read": "now, ahead, back",
    "entry": (
        "grant, burn, expiry, return_expired, overshoot, late_capture, debt_payment, debt_settlement, reversal,"
        " debt_reversal, debt_reopened, adjustment, adjustment_debt, take_back, take_back_debt"
    ),
    "hold": "open, captured, voided, lapsed",
    "event": "reload_due, exhausted",
}
CELLS = frozenset((operation, one) for operation, outcomes in OUTCOMES.items() for one in outcomes.split(", "))


class SideBySide:
    """One history of some organizations, in both ledgers."""

    def __init__(self, observer: Observer, clock: Clock, counts: Counts, *, starts_at: datetime) -> None:
        self._observer = observer
        self._clock = clock
        self._counts = counts
        self.model = LedgerModel()
        self.at = starts_at
        self.steps = 0
        self.customers: dict[int, Customer] = {}
        # By organization: the last entry and the last charge that were compared, and the holds that are settled.
        self._seen: dict[int, tuple[int, int, set[int]]] = {}
        observer.forget_open_lots()
        clock.set(starts_at)

    def open(self, slug: str) -> int:
        """A new organization; its id."""
        customer = Customer(slug)
        self.customers[customer.id] = customer
        self.model.open(customer.id)
        return customer.id

    def set_clock(self, at: datetime) -> None:
        """Move the clock, forward or back."""
        self.at = at
        self._clock.set(at)

    def publish(self, *, model: str, prices: dict[str, int], effective_at: datetime) -> None:
        """A new version of a model's prices."""
        real_ledger.publish(model=model, prices_nano_per_million=prices, effective_at=effective_at)
        self.model.publish(model=model, prices=prices, effective_at=effective_at)
        self._counts["publish", "published"] += 1

    def do(self, operation: str, /, **arguments: Any) -> Any:
        """One operation in both, compared; its answer."""
        self.steps += 1
        answer = real_ledger.OPERATIONS[operation](**arguments)
        predict = getattr(self.model, operation)
        before = {id_: len(account.past) for id_, account in self.model.accounts.items()}
        if operation == "charge_many":
            ids = [real_ledger.new_id(one) for one in answer]
            predicted = predict(**arguments, clock=self.at, new_ids=ids)
            touched = {event.organization_id for event in arguments["events"]}
            self._count(operation, answer)
        else:
            predicted = predict(**arguments, clock=self.at, new_id=real_ledger.new_id(answer))
            # The sweep is for all; those for which it did nothing are compared when they are touched next.
            swept = {id_ for id_, account in self.model.accounts.items() if len(account.past) > before[id_]}
            touched = {arguments["organization_id"]} if "organization_id" in arguments else swept
            self._count(_named(operation, arguments), [answer])
        _expect(predicted, answer, f"the answer of {operation}")
        self.compare(touched & self.customers.keys())
        return answer

    def read(self, organization_id: int, *, at: datetime) -> None:
        """What the product's pages read, at an instant that may lie ahead."""
        predicted = self.model.summary(organization_id=organization_id, clock=self.at, at=at)
        _expect(predicted, real_ledger.summary(organization_id=organization_id, at=at), f"summary at {at}")
        lines = self.model.lot_lines(organization_id=organization_id, at=at)
        _expect(lines, real_ledger.lot_lines(organization_id=organization_id, at=at), f"lots at {at}")
        self._counts["read", "ahead" if at > self.at else "now"] += 1

    def read_back(self, organization_id: int, *, at: datetime) -> None:
        """The balance at an instant of the past."""
        predicted = self.model.balance_at(organization_id=organization_id, at=at)
        _expect(predicted, real_ledger.balance_at(organization_id=organization_id, at=at), f"balance at {at}")
        self._counts["read", "back"] += 1

    def compare(self, organization_ids: Iterable[int]) -> None:
        """Everything that organizations have, in both; then the invariants."""
        for organization_id in sorted(organization_ids):
            account = self.model.accounts[organization_id]
            self._compare_rows(account)
            self._compare_reads(account)
            broken = self._observer.broken(organization_id, at=max(self.at, account.last_at or self.at))
            assert not broken, "\n".join(broken)

    def compare_everything(self) -> None:
        """Compare all organizations, from their first entry on."""
        self._seen.clear()
        self.compare(self.model.accounts)
        for account in self.model.accounts.values():
            self._counts.update(("entry", entry.kind) for entry in account.entries)
            self._counts.update(("hold", hold.state) for hold in account.holds.values())
            self._counts.update(("event", kind) for kind, _ in account.told)

    def _count(self, operation: str, answers: Iterable[Any]) -> None:
        for answer in answers:
            self._counts[operation, _outcome(answer)] += 1

    # Rows

    def _compare_rows(self, account: Account) -> None:
        organization_id = account.organization_id
        last_seq, last_charge, settled = self._seen.get(organization_id, (0, 0, set()))
        rows = self._observer.rows(
            organization_id=organization_id,
            holds=[hold_id for hold_id in account.holds if hold_id not in settled],
            after_charge=last_charge,
            after_seq=last_seq,
        )
        if not rows.account:
            assert not account.entries
            assert not account.holds
            return
        _expect([_account_row(account)], rows.account, "account")
        _expect(_lot_rows(account), rows.lots, "lots")
        _expect(
            [row for row in _hold_rows(account) if row[0] not in settled],
            [(*row[:3], tuple(row[3]), tuple(row[4]), *row[5:]) for row in rows.holds],
            "holds",
        )
        _expect([row for row in _charge_rows(account) if row[0] > last_charge], rows.charges, "charges")
        _expect([row for row in _entry_rows(account) if row[0] > last_seq], rows.entries, "entries")
        days = {row[:4]: _usage_day(row) for row in rows.usage_days}
        predicted = self.model.usage_days(organization_id=organization_id)
        _expect(
            {
                key: (day.requests, day.amount_nano, day.reversed_nano, {n: u for n, u in day.units.items() if u})
                for key, day in predicted.items()
            },
            days,
            "usage days",
        )
        _expect(_unpriced_rows(account), [row[1:] for row in rows.unpriced], "unpriced usage")
        account.unpriced_ids = {row[0]: row[1:5] for row in rows.unpriced}
        self._compare_corrections(account, rows)
        _expect(account.told, rows.told, "events")
        self._seen[organization_id] = (
            len(account.entries),
            account.charges[-1].id if account.charges else 0,
            {hold.id for hold in account.holds.values() if hold.state not in ("open", "lapsed")},
        )

    @staticmethod
    def _compare_corrections(account: Account, rows: real_ledger.Rows) -> None:
        reversals = [(one.id, *(one.cause or ()), one.answer.amount_nano) for one in account.reversals]  # type: ignore[union-attr]
        _expect(reversals, [row[:4] for row in rows.reversals], "reversals")
        adjustments = [(one.id, one.content[0], one.answer.debt_nano) for one in account.adjustments]  # type: ignore[union-attr]
        _expect(adjustments, [row[:3] for row in rows.adjustments], "adjustments")
        take_backs = [
            (one.id, one.content[0], one.content[1], one.answer.taken_nano, one.answer.debt_nano)  # type: ignore[union-attr]
            for one in account.take_backs
        ]
        _expect(take_backs, [row[:5] for row in rows.take_backs], "take-backs")

    def _compare_reads(self, account: Account) -> None:
        organization_id = account.organization_id
        predicted = self.model.summary(organization_id=organization_id, clock=self.at)
        _expect(predicted, real_ledger.summary(organization_id=organization_id), "summary")
        # What a reader is told is available is what the gate decides on.
        due = account.copy()
        due.lapse(predicted.counted_at)
        assert predicted.available_nano == due.available_nano(predicted.counted_at)


def _named(operation: str, arguments: dict[str, Any]) -> str:
    return str(arguments.get("operation", operation))


def _outcome(answer: Any) -> str:
    match answer:
        case Refusal():
            return answer.code
        case bool():
            return "low" if answer else "not low"
        case str():
            return f"was {answer}"
        case Answer():
            return answer.outcome
        case TakenBack(take_back_id=None):
            return "nothing_left"
        case Granted() | Reversed() | Adjusted() | TakenBack():
            return "replayed" if answer.is_replay else "done"
    return "booked" if answer.booked else "nothing due"


def _expect(predicted: Any, found: Any, what: str) -> None:
    if predicted == found:
        return
    told = f"{what}\nthe model says  {predicted}\nthe ledger says {found}"
    if isinstance(predicted, list) and isinstance(found, list):
        pairs = [(p, f) for p, f in zip(predicted, found, strict=False) if p != f]
        more = predicted[len(found) :], found[len(predicted) :]
        told = f"{what}\nthe model says, the ledger says: {pairs}\nthe rest: {more}"
    raise AssertionError(told)


Row = tuple[Any, ...]


def _account_row(account: Account) -> Row:
    return (
        account.state,
        len(account.entries),
        account.unreserved_nano(),
        account.held_nano(),
        account.debt_nano(),
        account.reload_below_nano,
        account.low_at,
        account.low_cause,
        account.exhausted_at,
    )


def _lot_rows(account: Account) -> list[Row]:
    left = account.remaining()
    return [
        (lot.id, lot.kind, lot.granted_nano, left[lot.id], lot.effective_at, lot.expires_at, lot.purchase_id)
        for lot in account.lots
    ]


def _hold_rows(account: Account) -> list[Row]:
    return [
        (
            hold.id,
            hold.state,
            hold.amount_nano,
            tuple(part.lot.id for part in hold.parts),
            tuple(part.nano for part in hold.parts),
            hold.available_after_nano,
            hold.authorized_at,
            hold.expires_at,
            hold.settled_at,
        )
        for hold in account.holds.values()
    ]


def _charge_rows(account: Account) -> list[Row]:
    return [
        (
            charge.id,
            charge.key,
            charge.operation,
            charge.hold_id,
            charge.usage.surface,
            charge.usage.key_ref,
            charge.amount_nano,
            charge.debt_nano,
            charge.available_after_nano,
            charge.started_at,
            charge.charged_at,
        )
        for charge in account.charges
    ]


def _entry_rows(account: Account) -> list[Row]:
    return [
        (
            entry.seq,
            entry.kind,
            entry.lot_id,
            entry.amount_nano,
            entry.cause_kind,
            entry.cause_id,
            entry.reverses_seq,
            entry.actor_id,
            entry.value_at,
            entry.booked_at,
            entry.balance_after_nano,
        )
        for entry in account.entries
    ]


def _unpriced_rows(account: Account) -> list[Row]:
    return sorted(
        (
            row.operation,
            row.key,
            row.model,
            row.token_class,
            row.usage.surface,
            row.usage.key_ref,
            dict(row.usage.quantities),
            row.started_at,
            row.attempts,
            row.first_at,
            row.last_at,
        )
        for row in account.unpriced
    )


def _usage_day(row: Row) -> tuple[Any, ...]:
    units = {**dict(zip(SHIPPED_CLASSES, row[7:11], strict=True)), **row[11]}
    return (*row[4:7], {name: count for name, count in units.items() if count})
