"""The ledger as it is meant, in a form that can be read: a second implementation that predicts the first.

Nothing here is fast and nothing is kept twice. An account is what happened to it: lots, holds, charges, corrections
and entries, in order. Every number (what a lot has left, what is held, what is owed, what a new request may use) is
summed up from those whenever it is asked for, so there is no sum that could be wrong. Ids are the database's to
choose, so whoever calls an operation that makes something tells the id of it (``new_id``); times come from a clock
that is an argument (``clock``). There is no database here, and no lock: one operation happens after the other.

Amounts are integers of nano-USD. Intervals are half-open: a lot can be spent in ``[effective_at, expires_at)``, a
hold stands in ``[authorized_at, expires_at)``, a price is in force in ``[effective_at, superseded_at)``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta

OCCURRED_AT_MOST_BEFORE = timedelta(days=35)
OCCURRED_AT_MOST_AFTER = timedelta(minutes=5)
REQUEST_FEE = "request"

Quantities = Mapping[str, int]


# What an account is made of


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """Prices of a model in nano-USD for a million units; zero is a price, a class that is not there has none."""

    model: str
    effective_at: datetime
    prices: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Usage:
    model: str
    quantities: Quantities
    surface: str = "api"
    key_ref: str = ""

    @property
    def content(self) -> tuple[object, ...]:
        """What two requests under one key are compared by."""
        return self.model, self.surface, self.key_ref, tuple(sorted(self.quantities.items()))


@dataclass(frozen=True, slots=True)
class Lot:
    id: int
    kind: str
    granted_nano: int
    effective_at: datetime
    expires_at: datetime
    purchase_id: int | None
    grant_key: object
    label: str
    reason: str

    def is_live(self, at: datetime) -> bool:
        return self.effective_at <= at < self.expires_at

    @property
    def burn_order(self) -> tuple[object, ...]:
        """Sooner expiry first, then promotional before paid, then older, then id."""
        return self.expires_at, self.kind != "promotional", self.effective_at, self.id


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of credit out of one lot."""

    lot: Lot
    nano: int


@dataclass(frozen=True, slots=True)
class Hold:
    id: int
    key: str
    content: tuple[object, ...]
    usage: Usage
    version: PriceVersion
    amount_nano: int
    parts: tuple[Part, ...]
    available_after_nano: int
    authorized_at: datetime
    expires_at: datetime
    state: str = "open"
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    id: int
    key: str
    content: tuple[object, ...]
    operation: str
    hold_id: int | None
    usage: Usage
    amount_nano: int
    debt_nano: int
    available_after_nano: int
    started_at: datetime
    charged_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of credit. ``seq`` is its place in the account's list, from 1."""

    seq: int
    kind: str
    lot_id: int | None
    amount_nano: int
    cause_kind: str
    cause_id: int
    reverses_seq: int | None
    actor_id: int | None
    value_at: datetime
    booked_at: datetime
    balance_after_nano: int


@dataclass(frozen=True, slots=True)
class Correction:
    """A reversal, an adjustment or a take-back: asked for under a key, by a person."""

    id: int
    key: object
    content: tuple[object, ...]
    answer: "Reversed | Adjusted | TakenBack"
    cause: tuple[str, int] | None = None

    def repeated(self, content: tuple[object, ...]) -> "Reversed | Adjusted | TakenBack | Refusal":
        """The first answer again, for ever; with other content a conflict."""
        if self.content != content:
            return Refusal("conflict")
        if isinstance(self.answer, Reversed):
            return replace(self.answer, is_replay=True)
        return replace(self.answer, is_replay=True, is_newly_low=False)


UnpricedName = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Usage that had no price. ``key`` is empty where the request was refused before it was served."""

    operation: str
    key: str
    model: str
    token_class: str
    usage: Usage
    started_at: datetime
    attempts: int
    first_at: datetime
    last_at: datetime

    @property
    def name(self) -> UnpricedName:
        """What there is one row for."""
        return self.operation, self.key, self.model, self.token_class


# Answers, field by field those of the product


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of authorize, capture, void, charge and reported usage."""

    outcome: str
    hold_id: int | None = None
    charge_id: int | None = None
    amount_nano: int | None = None
    debt_nano: int | None = None
    available_nano: int | None = None
    expires_at: datetime | None = None
    is_newly_low: bool = False
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    lot_id: int
    effective_at: datetime
    expires_at: datetime
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Expired:
    booked: int
    is_newly_low: bool


@dataclass(frozen=True, slots=True)
class Reversed:
    reversal_id: int
    amount_nano: int
    expired_nano: int
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Adjusted:
    adjustment_id: int
    debt_nano: int
    is_newly_low: bool
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Without an id there was nothing left to take."""

    take_back_id: int | None
    taken_nano: int
    debt_nano: int
    is_newly_low: bool
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class ExpiredDue:
    booked: int
    newly_low: list[int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal that the product raises instead of answering it."""

    code: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What an account has at an instant, as its owner reads it."""

    counted_at: datetime
    balance_nano: int
    held_nano: int
    open_holds: int
    debt_nano: int
    available_nano: int
    state: str
    reload_below_nano: int | None
    low_at: datetime | None


@dataclass(frozen=True, slots=True)
class LotLine:
    id: int
    left_nano: int
    held_nano: int


@dataclass(frozen=True, slots=True)
class UsageDay:
    """What the charges of one day add up to. ``units`` by token class."""

    requests: int
    amount_nano: int
    reversed_nano: int
    units: Quantities


UsageDayKey = tuple[date, str, str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """One charge of a batch."""

    organization_id: int
    key: str
    usage: Usage
    occurred_at: datetime | None = None
    operation: str = "charge"


# One organization's credit


@dataclass
class Account:
    """What happened to one organization's credit, and what follows from it."""

    organization_id: int
    state: str = "open"
    last_at: datetime | None = None
    reload_below_nano: int | None = None
    low_at: datetime | None = None
    low_cause: str = ""
    exhausted_at: datetime | None = None
    lots: list[Lot] = field(default_factory=list)
    holds: dict[int, Hold] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    reversals: list[Correction] = field(default_factory=list)
    adjustments: list[Correction] = field(default_factory=list)
    take_backs: list[Correction] = field(default_factory=list)
    unpriced: list[Unpriced] = field(default_factory=list)
    unpriced_ids: dict[int, UnpricedName] = field(default_factory=dict)
    told: list[tuple[str, datetime]] = field(default_factory=list)
    past: list[tuple[datetime, "Account"]] = field(default_factory=list)

    def copy(self) -> "Account":
        """The account as it is now, without its past. What it is made of is never changed in place."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "past"}
        return Account(**{name: v.copy() if isinstance(v, list | dict) else v for name, v in values.items()})

    def remember(self, at: datetime) -> None:
        """The end of every operation that changed something: its time, and what the account has come to."""
        self.last_at = at
        self.past.append((at, self.copy()))

    # Sums

    def open_holds(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.state == "open"]

    def remaining(self) -> dict[int, int]:
        """What each lot has unreserved: its entries, less what open holds have put aside."""
        left = {lot.id: 0 for lot in self.lots}
        for entry in self.entries:
            if entry.lot_id is not None:
                left[entry.lot_id] += entry.amount_nano
        for hold in self.open_holds():
            for part in hold.parts:
                left[part.lot.id] -= part.nano
        return left

    def unreserved_nano(self) -> int:
        return sum(self.remaining().values())

    def held_nano(self) -> int:
        return sum(hold.amount_nano for hold in self.open_holds())

    def debt_nano(self) -> int:
        """Entries without a lot are debt made, undone and paid."""
        return -sum(entry.amount_nano for entry in self.entries if entry.lot_id is None)

    def balance_nano(self) -> int:
        """The book balance: all entries together."""
        return sum(entry.amount_nano for entry in self.entries)

    def live_lots(self, at: datetime) -> list[Lot]:
        """The lots that can be spent, in the order in which they are."""
        return sorted((lot for lot in self.lots if lot.is_live(at)), key=lambda lot: lot.burn_order)

    def live_nano(self, at: datetime) -> int:
        left = self.remaining()
        return sum(left[lot.id] for lot in self.live_lots(at))

    def available_nano(self, at: datetime) -> int:
        """What a new request may use, when holds that are due have been given back."""
        return self.live_nano(at) - self.debt_nano()

    def was_adjusted(self, operation: str, key: str) -> bool:
        """Whether staff have charged usage without a price by an adjustment: its key can't be charged once more."""
        ids = {adjustment.content[3] for adjustment in self.adjustments}
        return any(self.unpriced_ids[id_][:2] == (operation, key) for id_ in ids & self.unpriced_ids.keys())

    def level_nano(self, at: datetime) -> int:
        """Live credit, held included, less debt. Holds past their end count as given back, before anybody does it."""
        nano = self.available_nano(at)
        for hold in self.open_holds():
            is_standing = hold.expires_at > at
            nano += sum(part.nano for part in hold.parts if is_standing or part.lot.expires_at > at)
        return nano

    def covered_by(self, amount_nano: int, at: datetime) -> list[Part]:
        """The parts of live lots that pay an amount, as far as they reach."""
        left = self.remaining()
        parts = []
        for lot in self.live_lots(at):
            nano = min(left[lot.id], amount_nano)
            if nano > 0:
                parts.append(Part(lot, nano))
                amount_nano -= nano
        return parts

    def lot(self, lot_id: int) -> Lot | None:
        return next((lot for lot in self.lots if lot.id == lot_id), None)

    def standing_nano(self, entry: Entry) -> int:
        """How much of an entry no reversal has undone."""
        undone = sum(abs(other.amount_nano) for other in self.entries if other.reverses_seq == entry.seq)
        return abs(entry.amount_nano) - undone

    # Writing

    def book(
        self,
        kind: str,
        lot: Lot | None,
        amount_nano: int,
        cause: tuple[str, int],
        booked_at: datetime,
        *,
        value_at: datetime | None = None,
        reverses_seq: int | None = None,
        actor_id: int | None = None,
    ) -> None:
        """The one way in which an entry comes about. Nothing moves by nothing."""
        if amount_nano == 0:
            return
        self.entries.append(
            Entry(
                seq=len(self.entries) + 1,
                kind=kind,
                lot_id=lot.id if lot else None,
                amount_nano=amount_nano,
                cause_kind=cause[0],
                cause_id=cause[1],
                reverses_seq=reverses_seq,
                actor_id=actor_id,
                value_at=value_at or booked_at,
                booked_at=booked_at,
                balance_after_nano=self.balance_nano() + amount_nano,
            )
        )

    def spend(self, kind: str, amount_nano: int, cause: tuple[str, int], at: datetime, **more: int | None) -> int:
        """Take an amount out of live lots, as far as they reach; what they did not cover."""
        for part in self.covered_by(amount_nano, at):
            self.book(kind, part.lot, -part.nano, cause, at, **more)  # type: ignore[arg-type]
            amount_nano -= part.nano
        return amount_nano

    def pay_debt(self, cause: tuple[str, int], at: datetime) -> None:
        """Debt and free credit never stand side by side: what is live pays, a pair of entries for each lot's run."""
        owed = self.debt_nano()
        unpaid = self.spend("debt_payment", owed, cause, at)
        self.book("debt_settlement", None, owed - unpaid, cause, at)

    def settle_hold(self, hold: Hold, state: str, at: datetime) -> None:
        self.holds[hold.id] = replace(hold, state=state, settled_at=at)

    def return_parts(self, hold: Hold, parts: Iterable[Part], at: datetime) -> None:
        """Book out what a hold gives back to lots past their end; all else is unreserved again by itself.

        Valued at the instant from which reads no longer counted it: the lot's end, or the hold's where that is later.
        """
        for part in parts:
            if part.lot.expires_at <= at:
                value_at = max(part.lot.expires_at, min(hold.expires_at, at))
                self.book("return_expired", part.lot, -part.nano, ("hold", hold.id), at, value_at=value_at)

    def lapse(self, at: datetime, *, but: Hold | None = None) -> None:
        """Give back every hold that is past its end, the earliest first; debt is paid from each.

        A hold of nothing (a free model's) has nothing to give back and stays open.
        """
        due = [hold for hold in self.open_holds() if hold.amount_nano and hold.expires_at <= at and hold != but]
        for hold in sorted(due, key=lambda hold: (hold.expires_at, hold.id)):
            self.settle_hold(hold, "lapsed", at)
            self.return_parts(hold, hold.parts, at)
            self.pay_debt(("hold", hold.id), at)
        if due:
            self.note_level(at)
            self.remember(at)

    def note_level(self, at: datetime, *, is_refusal: bool = False) -> None:
        """Tell, once, that credit is below the line of auto-reload, and that it has run out.

        Both look at live credit, held included, less debt, so that holds that come and go tell nobody anything. A
        refusal for lack of credit counts as both. An account that never had an entry has not run out.
        """
        level = self.level_nano(at)
        if (
            self.reload_below_nano is not None
            and self.low_at is None
            and (level < self.reload_below_nano or is_refusal)
        ):
            self.low_at = at
            self.low_cause = "level" if level < self.reload_below_nano else "refusal"
            self.told.append(("reload_due", at))
        if self.entries and self.exhausted_at is None and (level <= 0 or is_refusal):
            self.exhausted_at = at
            self.told.append(("exhausted", at))

    def replenish(self, at: datetime) -> None:
        """Credit came in: it has not run out any more, if something is left of it."""
        if self.available_nano(at) > 0:
            self.exhausted_at = None


def anniversary(at: datetime) -> datetime:
    """The same calendar day and time one year later in UTC; of 29 February, 28 February."""
    at = at.astimezone(UTC)
    return at.replace(year=at.year + 1, day=28 if (at.month, at.day) == (2, 29) else at.day)


# All organizations, and the operations


class LedgerModel:
    """Every operation of the ledger. ``clock`` is what the database's clock shows."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.versions: list[PriceVersion] = []

    def open(self, organization_id: int) -> Account:
        """A new organization."""
        self.accounts[organization_id] = Account(organization_id)
        return self.accounts[organization_id]

    def _found(self, organization_id: int, clock: datetime) -> Account | None:
        """The account of an organization, if there is one."""
        return self._locked(organization_id, clock) if organization_id in self.accounts else None

    def _locked(self, organization_id: int, clock: datetime) -> Account:
        """The account of an operation. The first one makes it, and nothing is ever booked before that instant."""
        account = self.accounts[organization_id]
        account.last_at = account.last_at or clock
        return account

    # Prices

    def publish(self, *, model: str, prices: Quantities, effective_at: datetime) -> None:
        """A new version of a model's prices ends the one before at its start. It starts after all others."""
        assert all(v.effective_at < effective_at for v in self.versions if v.model == model)
        self.versions.append(PriceVersion(model, effective_at, dict(prices)))

    def version(self, model: str, at: datetime) -> PriceVersion | None:
        """The version in force."""
        started = [v for v in self.versions if v.model == model and v.effective_at <= at]
        return max(started, key=lambda v: v.effective_at, default=None)

    @staticmethod
    def missing_class(version: PriceVersion, quantities: Quantities) -> str | None:
        """The first used class that has no price."""
        return min((name for name, units in quantities.items() if units and name not in version.prices), default=None)

    @staticmethod
    def cost_nano(version: PriceVersion, quantities: Quantities) -> int:
        """All classes exactly, and one request where requests have a fee; rounded up once."""
        charged = {**quantities, REQUEST_FEE: 1}
        exact = sum(units * version.prices.get(name, 0) for name, units in charged.items())
        return -(-exact // 1_000_000)

    # What the gateway calls

    def authorize(
        self,
        *,
        organization_id: int,
        key: str,
        usage: Usage,
        ttl_seconds: int,
        clock: datetime,
        new_id: int | None = None,
    ) -> Answer:
        """Put the worst case of a request aside."""
        account = self._found(organization_id, clock)
        if account is None:
            return Answer("organization_unknown")
        content = ("authorize", *usage.content, ttl_seconds)
        known = next((hold for hold in account.holds.values() if hold.key == key), None)
        if known is not None:
            outcome = "replayed" if known.content == content else "conflict"
            return Answer(outcome, known.id, None, known.amount_nano, 0, known.available_after_nano, known.expires_at)
        if account.state != "open":
            return Answer("organization_suspended")
        now = _stamp(account, clock)
        before = account.low_at
        account.lapse(now)
        version = self.version(usage.model, now)
        unpriced = self._unpriced(account, "authorize", "", usage, version, started_at=now, now=now)
        if unpriced is not None:
            return replace(unpriced, is_newly_low=account.low_at != before)
        assert version is not None
        cost = self.cost_nano(version, usage.quantities)
        available = account.available_nano(now)
        # Nothing available refuses a request of any size, a free one too.
        if available < cost or available <= 0:
            return _insufficient(account, cost, available, before, now)
        hold = Hold(
            id=_new(new_id, account.holds),
            key=key,
            content=content,
            usage=usage,
            version=version,
            amount_nano=cost,
            parts=tuple(account.covered_by(cost, now)),
            available_after_nano=available - cost,
            authorized_at=now,
            expires_at=now + timedelta(seconds=ttl_seconds),
        )
        account.holds[hold.id] = hold
        account.remember(now)
        return Answer(
            "authorized", hold.id, None, cost, 0, hold.available_after_nano, hold.expires_at, account.low_at != before
        )

    def capture(
        self,
        *,
        organization_id: int,
        hold_id: int,
        key: str,
        quantities: Quantities,
        clock: datetime,
        new_id: int | None = None,
    ) -> Answer:
        """Charge what a held request used: from its allocation, then from live lots, then as debt."""
        account = self._found(organization_id, clock)
        if account is None:
            return Answer("organization_unknown")
        content = ("capture", hold_id, tuple(sorted(quantities.items())))
        known = _charge_of(account, key)
        if known is not None:
            return _repeated(known, content, hold_id=known.hold_id)
        if account.was_adjusted("capture", key):
            return Answer("conflict")
        hold = account.holds.get(hold_id)
        if hold is None:
            return Answer("hold_unknown")
        if hold.state in ("captured", "voided"):
            return Answer(f"already_{hold.state}")
        now = _stamp(account, clock)
        before = account.low_at
        used = replace(hold.usage, quantities=quantities)
        unpriced = self._unpriced(account, "capture", key, used, hold.version, started_at=hold.authorized_at, now=now)
        if unpriced is not None:
            return unpriced
        # Its own hold is left out: it pays as long as it was not given back, past its end too.
        account.lapse(now, but=hold)
        cost = self.cost_nano(hold.version, quantities)
        charge_id = _new(new_id, (charge.id for charge in account.charges))
        cause = ("charge", charge_id)
        unpaid = cost
        over = []
        if hold.state == "open":
            # What the allocation paid is valued at the authorization, when its lots were live.
            account.settle_hold(hold, "captured", now)
            for part in hold.parts:
                nano = min(part.nano, unpaid)
                account.book("burn", part.lot, -nano, cause, now, value_at=hold.authorized_at)
                unpaid -= nano
                over.append(Part(part.lot, part.nano - nano))
        returned = [part for part in over if part.nano]
        # What is over stays reserved until the charge is paid, so it can't pay it a second time: nothing is over then.
        assert not (returned and unpaid)
        unpaid = account.spend("burn", unpaid, cause, now)
        account.book("late_capture" if hold.state == "lapsed" else "overshoot", None, -unpaid, cause, now)
        account.settle_hold(hold, "captured", now)
        account.return_parts(hold, returned, now)
        account.pay_debt(("hold", hold.id), now)
        available = account.available_nano(now)
        account.charges.append(
            Charge(
                id=charge_id,
                key=key,
                content=content,
                operation="capture",
                hold_id=hold.id,
                usage=used,
                amount_nano=cost,
                debt_nano=unpaid,
                available_after_nano=available,
                started_at=hold.authorized_at,
                charged_at=now,
            )
        )
        account.note_level(now)
        account.remember(now)
        return Answer("charged", hold.id, charge_id, cost, unpaid, available, is_newly_low=account.low_at != before)

    def void(self, *, organization_id: int, hold_id: int, clock: datetime, new_id: int | None = None) -> Answer:
        """Give a hold back whole."""
        account = self._found(organization_id, clock)
        if account is None:
            return Answer("organization_unknown")
        hold = account.holds.get(hold_id)
        if hold is None:
            return Answer("hold_unknown")
        if hold.state == "captured":
            return Answer("already_captured")
        now = _stamp(account, clock)
        before = account.low_at
        account.lapse(now, but=hold)
        outcome = "replayed"
        if hold.state != "voided":
            outcome = "voided"
            account.settle_hold(hold, "voided", now)
            if hold.state == "open":
                account.return_parts(hold, hold.parts, now)
                account.pay_debt(("hold", hold.id), now)
            account.note_level(now)
            account.remember(now)
        return Answer(
            outcome,
            hold.id,
            None,
            hold.amount_nano,
            0,
            account.available_nano(now),
            is_newly_low=account.low_at != before,
        )

    def charge(
        self,
        *,
        organization_id: int,
        key: str,
        usage: Usage,
        occurred_at: datetime | None = None,
        clock: datetime,
        new_id: int | None = None,
        operation: str = "charge",
    ) -> Answer:
        """Charge at once. ``charge`` is refused where credit lacks; ``usage`` was served already and is owed."""
        account = self._found(organization_id, clock)
        if account is None:
            return Answer("organization_unknown")
        known = _charge_of(account, key)
        if known is not None:
            # Without a start of its own a charge began when it was charged.
            content = (operation, *usage.content, occurred_at or known.charged_at)
            return _repeated(known, content, hold_id=None)
        if operation == "usage" and account.was_adjusted("usage", key):
            return Answer("conflict")
        if account.state != "open" and operation == "charge":
            return Answer("organization_suspended")
        now = _stamp(account, clock)
        started_at = occurred_at or now
        if not now - OCCURRED_AT_MOST_BEFORE <= started_at <= now + OCCURRED_AT_MOST_AFTER:
            return Answer("occurred_at_out_of_range")
        before = account.low_at
        account.lapse(now)
        # A gateway whose clock is ahead is not charged a price that is still to come.
        version = self.version(usage.model, min(started_at, now))
        row_key = key if operation == "usage" else ""
        unpriced = self._unpriced(account, operation, row_key, usage, version, started_at=started_at, now=now)
        if unpriced is not None:
            return replace(unpriced, is_newly_low=account.low_at != before)
        assert version is not None
        cost = self.cost_nano(version, usage.quantities)
        available = account.available_nano(now)
        if operation == "charge" and (available < cost or available <= 0):
            return _insufficient(account, cost, available, before, now)
        charge_id = _new(new_id, (charge.id for charge in account.charges))
        cause = ("charge", charge_id)
        unpaid = account.spend("burn", cost, cause, now)
        account.book("overshoot", None, -unpaid, cause, now)
        account.charges.append(
            Charge(
                id=charge_id,
                key=key,
                content=(operation, *usage.content, started_at),
                operation=operation,
                hold_id=None,
                usage=usage,
                amount_nano=cost,
                debt_nano=unpaid,
                available_after_nano=available - cost,
                started_at=started_at,
                charged_at=now,
            )
        )
        account.note_level(now)
        account.remember(now)
        return Answer("charged", None, charge_id, cost, unpaid, available - cost, is_newly_low=account.low_at != before)

    def charge_many(self, *, events: Sequence[Event], clock: datetime, new_ids: Sequence[int | None]) -> list[Answer]:
        """Exactly the single calls, in order."""
        return [
            self.charge(
                organization_id=event.organization_id,
                key=event.key,
                usage=event.usage,
                occurred_at=event.occurred_at,
                operation=event.operation,
                clock=clock,
                new_id=new_id,
            )
            for event, new_id in zip(events, new_ids, strict=True)
        ]

    # What staff, payments and the sweep call

    def grant(
        self,
        *,
        organization_id: int,
        kind: str,
        amount_nano: int,
        clock: datetime,
        expires_at: datetime | None = None,
        purchase_id: int | None = None,
        label: str = "",
        reason: str = "",
        actor_id: int | None = None,
        grant_key: object = None,
        new_id: int | None = None,
    ) -> Granted | Refusal:
        """Add a lot; debt is paid from it at once. A purchase, and a key, is granted once."""
        account = self.accounts[organization_id]
        for lot in account.lots:
            if purchase_id is not None and lot.purchase_id == purchase_id:
                return Granted(lot.id, lot.effective_at, lot.expires_at, is_replay=True)
        for lot in account.lots:
            if grant_key is not None and lot.grant_key == grant_key:
                asked = (kind, amount_nano, expires_at or anniversary(lot.effective_at), label, reason)
                if asked != (lot.kind, lot.granted_nano, lot.expires_at, lot.label, lot.reason):
                    return Refusal("conflict")
                return Granted(lot.id, lot.effective_at, lot.expires_at, is_replay=True)
        now = _stamp(account, clock)
        if expires_at is not None and expires_at <= now:
            return Refusal("impossible")
        self._locked(organization_id, clock)
        account.lapse(now)
        lot = Lot(
            id=_new(new_id, (lot.id for lot in account.lots)),
            kind=kind,
            granted_nano=amount_nano,
            effective_at=now,
            expires_at=expires_at or anniversary(now),
            purchase_id=purchase_id,
            grant_key=grant_key,
            label=label,
            reason=reason,
        )
        account.lots.append(lot)
        cause = ("lot", lot.id) if purchase_id is None else ("purchase", purchase_id)
        account.book("grant", lot, amount_nano, cause, now, actor_id=actor_id)
        account.pay_debt(("lot", lot.id), now)
        account.replenish(now)
        account.remember(now)
        return Granted(lot.id, lot.effective_at, lot.expires_at, is_replay=False)

    def expire(self, *, organization_id: int, limit: int, clock: datetime, new_id: int | None = None) -> Expired:
        """Book out what is left of lots past their end."""
        account = self._locked(organization_id, clock)
        now = _stamp(account, clock)
        before = account.low_at
        account.lapse(now)
        left = account.remaining()
        due = [lot for lot in account.lots if lot.expires_at <= now and left[lot.id]]
        booked = sorted(due, key=lambda lot: (lot.expires_at, lot.id))[:limit]
        for lot in booked:
            account.book("expiry", lot, -left[lot.id], ("lot", lot.id), now, value_at=lot.expires_at)
        account.note_level(now)
        account.remember(now)
        return Expired(len(booked), account.low_at != before)

    def expire_due(self, *, limit: int, clock: datetime, new_id: int | None = None) -> ExpiredDue:
        """The sweep: every organization that has something to book, in one go."""
        booked, newly_low = 0, []
        for account in self.accounts.values():
            left = account.remaining()
            if any(left[lot.id] and lot.expires_at <= clock for lot in account.lots):
                done = self.expire(organization_id=account.organization_id, limit=limit, clock=clock)
                booked += done.booked
                newly_low += [account.organization_id] if done.is_newly_low else []
        assert booked < limit, "the model says nothing about what a sweep leaves for the next one"
        return ExpiredDue(booked, sorted(newly_low))

    def reverse(
        self,
        *,
        organization_id: int,
        cause_kind: str,
        cause_id: int,
        key: object,
        reason: str,
        clock: datetime,
        amount_nano: int | None = None,
        label: str = "",
        actor_id: int | None = None,
        new_id: int | None = None,
    ) -> object:
        """Undo a charge, an adjustment or a take-back: its entries from the last to the first, as far as asked."""
        account = self._locked(organization_id, clock)
        content = (cause_kind, cause_id, amount_nano, label, reason)
        known = _correction(account.reversals, key)
        if known is not None:
            return known.repeated(content)
        if not _is_known(account, cause_kind, cause_id):
            return Refusal("cause_unknown")
        cause = (cause_kind, cause_id)
        undoable = [
            entry
            for entry in account.entries
            if (entry.cause_kind, entry.cause_id) == cause and entry.kind in UNDONE_BY_REVERSAL
        ]
        left = sum(account.standing_nano(entry) for entry in undoable)
        wanted = left if amount_nano is None else amount_nano
        if left == 0:
            return Refusal("nothing_left")
        if wanted > left:
            return Refusal("too_much")
        now = _stamp(account, clock)
        account.lapse(now)
        reversal_id = _new(new_id, (reversal.id for reversal in account.reversals))
        undo = Undo(account, ("reversal", reversal_id), now, actor_id)
        rest = wanted
        for entry in reversed(undoable):
            nano = min(rest, account.standing_nano(entry))
            undo.entry(entry, nano)
            rest -= nano
        account.pay_debt(("reversal", reversal_id), now)
        answer = Reversed(reversal_id, wanted, undo.expired_nano)
        account.reversals.append(Correction(reversal_id, key, content, answer, cause))
        account.replenish(now)
        account.remember(now)
        return answer

    def adjust(
        self,
        *,
        organization_id: int,
        amount_nano: int,
        key: object,
        label: str,
        reason: str,
        actor_id: int | None,
        may_owe: bool,
        clock: datetime,
        unpriced_usage_id: int | None = None,
        new_id: int | None = None,
    ) -> object:
        """Take credit away to put something right; the rest is owed where it may be."""
        account = self._locked(organization_id, clock)
        content = (amount_nano, label, reason, unpriced_usage_id)
        known = _correction(account.adjustments, key)
        if known is not None:
            return known.repeated(content)
        unpriced = account.unpriced_ids.get(unpriced_usage_id or 0)
        if unpriced is not None and unpriced[0] in ("usage", "capture") and _charge_of(account, unpriced[1]):
            return Refusal("already_charged")
        now = _stamp(account, clock)
        before = account.low_at
        account.lapse(now)
        if not may_owe and account.available_nano(now) < amount_nano:
            return Refusal("insufficient")
        adjustment_id = _new(new_id, (adjustment.id for adjustment in account.adjustments))
        cause = ("adjustment", adjustment_id)
        unpaid = account.spend("adjustment", amount_nano, cause, now, actor_id=actor_id)
        account.book("adjustment_debt", None, -unpaid, cause, now, actor_id=actor_id)
        account.note_level(now)
        account.remember(now)
        answer = Adjusted(adjustment_id, unpaid, account.low_at != before)
        account.adjustments.append(Correction(adjustment_id, key, content, answer))
        return answer

    def take_back(
        self,
        *,
        organization_id: int,
        lot_id: int,
        amount_nano: int,
        key: object,
        reason: str,
        actor_id: int | None,
        rest_as_debt: bool,
        clock: datetime,
        label: str = "",
        new_id: int | None = None,
    ) -> object:
        """Take credit of one lot back: what it has unreserved while it is live; the rest is owed, or dropped.

        All take-backs of a lot together, less what of them was reversed, never exceed what it granted.
        """
        account = self._locked(organization_id, clock)
        content = (lot_id, amount_nano, label, reason, rest_as_debt)
        known = _correction(account.take_backs, key)
        if known is not None:
            return known.repeated(content)
        lot = account.lot(lot_id)
        if lot is None:
            return Refusal("lot_unknown")
        now = _stamp(account, clock)
        before = account.low_at
        account.lapse(now)
        wanted = min(amount_nano, lot.granted_nano - _taken_back_nano(account, lot))
        taken = min(wanted, account.remaining()[lot.id]) if lot.is_live(now) else 0
        owed = wanted - taken if rest_as_debt else 0
        if taken == 0 and owed == 0:
            return TakenBack(None, 0, 0, account.low_at != before)
        take_back_id = _new(new_id, (take_back.id for take_back in account.take_backs))
        cause = ("take_back", take_back_id)
        account.book("take_back", lot, -taken, cause, now, actor_id=actor_id)
        account.book("take_back_debt", None, -owed, cause, now, actor_id=actor_id)
        account.pay_debt(cause, now)
        account.note_level(now)
        account.remember(now)
        answer = TakenBack(take_back_id, taken, owed, account.low_at != before)
        account.take_backs.append(Correction(take_back_id, key, content, answer))
        return answer

    def set_state(
        self, *, organization_id: int, state: str, clock: datetime, new_id: int | None = None
    ) -> str | Refusal:
        """Open, freeze or close an account; closed is for ever. The state before."""
        account = self._locked(organization_id, clock)
        before = account.state
        if before == "closed" and state != "closed":
            return Refusal("closed")
        account.state = state
        return before

    def set_reload_line(
        self, *, organization_id: int, below_nano: int | None, clock: datetime, new_id: int | None = None
    ) -> bool:
        """Arm auto-reload with a line, or disarm it, and look at the level anew. Whether a reload is due."""
        account = self._locked(organization_id, clock)
        now = _stamp(account, clock)
        account.lapse(now)
        account.reload_below_nano, account.low_at, account.low_cause = below_nano, None, ""
        account.note_level(now)
        account.remember(now)
        return account.low_at is not None

    # Reads

    def summary(self, *, organization_id: int, clock: datetime, at: datetime | None = None) -> Summary:
        """What the account has at an instant, by default now. Holds past their end count as given back."""
        account = self.accounts[organization_id]
        at = at or _stamp(account, clock)
        standing = [hold for hold in account.open_holds() if hold.expires_at > at]
        held = sum(hold.amount_nano for hold in standing)
        debt = account.debt_nano()
        return Summary(
            counted_at=at,
            balance_nano=account.level_nano(at) + debt,
            held_nano=held,
            open_holds=len(standing),
            debt_nano=debt,
            available_nano=account.level_nano(at) - held,
            state=account.state,
            reload_below_nano=account.reload_below_nano,
            low_at=account.low_at,
        )

    def lot_lines(self, *, organization_id: int, at: datetime) -> list[LotLine]:
        """The lots that make up the balance, in burn order, with what open holds have put aside of them."""
        account = self.accounts[organization_id]
        left = account.remaining()
        held = dict.fromkeys(left, 0)
        for hold in account.open_holds():
            for part in hold.parts:
                if hold.expires_at > at:
                    held[part.lot.id] += part.nano
                else:
                    left[part.lot.id] += part.nano
        lines = []
        for lot in sorted(account.lots, key=lambda lot: lot.burn_order):
            unreserved = left[lot.id] if lot.is_live(at) else 0
            if lot.effective_at <= at and (unreserved or held[lot.id]):
                lines.append(LotLine(lot.id, unreserved + held[lot.id], held[lot.id]))
        return lines

    def balance_at(self, *, organization_id: int, at: datetime) -> int:
        """Live credit, held included, less debt, as the summary said at an instant that is past."""
        past = [account for when, account in self.accounts[organization_id].past if when <= at]
        return past[-1].level_nano(at) if past else 0

    def usage_days(self, *, organization_id: int) -> dict[UsageDayKey, UsageDay]:
        """What charges add up to, by the day (UTC) on which requests began, surface, model and key."""
        account = self.accounts[organization_id]
        days: dict[UsageDayKey, UsageDay] = {}
        for charge in account.charges:
            key = (
                charge.started_at.astimezone(UTC).date(),
                charge.usage.surface,
                charge.usage.model,
                charge.usage.key_ref,
            )
            day = days.get(key, UsageDay(0, 0, 0, {}))
            used = charge.usage.quantities
            days[key] = UsageDay(
                requests=day.requests + 1,
                amount_nano=day.amount_nano + charge.amount_nano,
                reversed_nano=day.reversed_nano + self._reversed_nano(account, charge),
                units={name: day.units.get(name, 0) + used.get(name, 0) for name in {*day.units, *used}},
            )
        return days

    @staticmethod
    def _reversed_nano(account: Account, charge: Charge) -> int:
        answers = [reversal.answer for reversal in account.reversals if reversal.cause == ("charge", charge.id)]
        return sum(answer.amount_nano for answer in answers if isinstance(answer, Reversed))

    def _unpriced(
        self,
        account: Account,
        operation: str,
        key: str,
        usage: Usage,
        version: PriceVersion | None,
        *,
        started_at: datetime,
        now: datetime,
    ) -> Answer | None:
        """Refuse what has no price, and remember it: nothing is ever charged at a price that nobody set."""
        token_class = self.missing_class(version, usage.quantities) if version is not None else ""
        if token_class is None:
            return None
        name = (operation, key, usage.model, token_class)
        rows = [row for row in account.unpriced if row.name == name]
        known = rows[0] if rows else Unpriced(*name, usage, started_at, attempts=0, first_at=now, last_at=now)
        account.unpriced = [row for row in account.unpriced if row not in rows]
        account.unpriced.append(
            replace(
                known, usage=usage, started_at=started_at, attempts=known.attempts + 1, last_at=max(known.last_at, now)
            )
        )
        return Answer("price_missing", detail=token_class or usage.model)


# Entries that take something from the customer, and by which kind they are undone.
UNDONE_BY_REVERSAL = frozenset(
    {"burn", "overshoot", "late_capture", "adjustment", "adjustment_debt", "take_back", "take_back_debt"}
)


@dataclass
class Undo:
    """The writing side of a reversal: whose cause it is, when, and what ended at once."""

    account: Account
    cause: tuple[str, int]
    at: datetime
    actor_id: int | None
    expired_nano: int = 0

    def entry(self, entry: Entry, nano: int) -> None:
        """Undo so much of an entry."""
        if nano == 0:
            return
        if entry.lot_id is None:
            self._reopen_debt(nano - self.account.debt_nano())
            self._book("debt_reversal", None, nano, entry)
        else:
            self._back_to_lot(entry, nano)

    def _back_to_lot(self, entry: Entry, nano: int) -> None:
        lot = self.account.lot(entry.lot_id or 0)
        assert lot is not None
        self._book("reversal", lot, nano, entry)
        if lot.expires_at <= self.at:
            self._book("return_expired", lot, -nano, None)
            self.expired_nano += nano

    def _reopen_debt(self, needed: int) -> None:
        """Debt that was paid already is opened again as far as there is too little to undo; its payments go back.

        The newest settlement first, and of it the newest payment.
        """
        account = self.account
        while needed > 0:
            settlement = [e for e in account.entries if e.kind == "debt_settlement" and account.standing_nano(e)][-1]
            reopened = min(needed, account.standing_nano(settlement))
            self._book("debt_reopened", None, -reopened, settlement)
            needed -= reopened
            for payment in reversed(_payments(account, settlement)):
                part = min(reopened, account.standing_nano(payment))
                if part:
                    self._back_to_lot(payment, part)
                reopened -= part
            assert reopened == 0

    def _book(self, kind: str, lot: Lot | None, nano: int, undone: Entry | None) -> None:
        self.account.book(
            kind, lot, nano, self.cause, self.at, reverses_seq=undone.seq if undone else None, actor_id=self.actor_id
        )


def _payments(account: Account, settlement: Entry) -> list[Entry]:
    """The payments of a settlement: the run of entries right before it."""
    payments: list[Entry] = []
    for entry in reversed(account.entries[: settlement.seq - 1]):
        if entry.kind != "debt_payment":
            break
        payments.insert(0, entry)
    return payments


def _correction(corrections: Iterable[Correction], key: object) -> Correction | None:
    return next((correction for correction in corrections if correction.key == key), None)


def _taken_back_nano(account: Account, lot: Lot) -> int:
    """What of a lot is taken back and was not given back again."""
    ids = {take_back.id for take_back in account.take_backs if take_back.content[0] == lot.id}
    entries = [entry for entry in account.entries if entry.cause_kind == "take_back" and entry.cause_id in ids]
    return sum(account.standing_nano(entry) for entry in entries if entry.kind in UNDONE_BY_REVERSAL)


def _is_known(account: Account, cause_kind: str, cause_id: int) -> bool:
    of_kind: dict[str, Callable[[], Iterable[int]]] = {
        "charge": lambda: (charge.id for charge in account.charges),
        "adjustment": lambda: (adjustment.id for adjustment in account.adjustments),
        "take_back": lambda: (take_back.id for take_back in account.take_backs),
    }
    return cause_id in of_kind[cause_kind]()


def _stamp(account: Account, clock: datetime) -> datetime:
    """The time of an operation: the clock's, but never before the account's last operation."""
    return clock if account.last_at is None else max(clock, account.last_at)


def _new(new_id: int | None, ids: Iterable[int]) -> int:
    """The id that the database has chosen for something new."""
    assert new_id is not None, "something is to be made, and no id is told for it"
    assert new_id not in ids, "an id is told for something new that is not new"
    return new_id


def _charge_of(account: Account, key: str) -> Charge | None:
    return next((charge for charge in account.charges if charge.key == key), None)


def _repeated(known: Charge, content: tuple[object, ...], *, hold_id: int | None) -> Answer:
    """The first answer again, for ever; with other content a conflict, and nothing changes."""
    outcome = "replayed" if known.content == content else "conflict"
    return Answer(outcome, hold_id, known.id, known.amount_nano, known.debt_nano, known.available_after_nano)


def _insufficient(account: Account, cost: int, available: int, low_before: datetime | None, now: datetime) -> Answer:
    """A refusal for lack of credit. It does not burn its key, and is told where credit is watched."""
    told = len(account.told)
    account.note_level(now, is_refusal=True)
    if len(account.told) > told:
        account.remember(now)
    is_newly_low = account.low_at != low_before
    return Answer("insufficient", amount_nano=cost, available_nano=available, is_newly_low=is_newly_low)
