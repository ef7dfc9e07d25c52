"""Hypothesis tells histories: every operation, on a clock that stops at every boundary, for several organizations.

Arguments are small numbers that are looked up in what the model knows (which lots, which holds, how much is available),
so that most steps do something and boundaries are met exactly.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from billing.models import AutoReload
from billing.money import NANO_PER_CENT
from billing.tests.proof import real_ledger
from billing.tests.proof.ledger_model import Account, Event, LedgerModel, Unpriced, Usage
from billing.tests.proof.side_by_side import SideBySide

MICROSECOND = timedelta(microseconds=1)
ORGANIZATIONS = 3
UNKNOWN_ID = 10**15
SWEEP_LIMIT = 10_000

# A year is a leap year or not, a day is near its end or not.
STARTS = (
    datetime(2027, 3, 1, 17, 45, 30, 123_456, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC),
    datetime(2028, 2, 29, 12, 0, tzinfo=UTC),
)
PAUSES = (timedelta(0), MICROSECOND, timedelta(milliseconds=1), timedelta(seconds=5))
WAITS = (
    timedelta(seconds=1),
    timedelta(seconds=1),
    timedelta(seconds=30),
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=34),
    timedelta(seconds=-2),
)
LOT_LENGTHS = (
    timedelta(seconds=1),
    timedelta(seconds=60),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=1),
    timedelta(days=30),
    timedelta(days=30),
    None,
    None,
)
TTLS = (1, 60, 600, 3_600)
AMOUNTS = (1, 10, 100, 1_000, 12_345, 100_000, NANO_PER_CENT)
SURFACES = ("api", "workbench", "claude_code")
PRICES: tuple[dict[str, int], ...] = (
    {"input": 10**6, "output": 10**6},
    {"input": 10**6, "output": 2 * 10**6, "cache_read": 333_333},
    {"input": 1_500_001, "output": 1},
    {"input": 0, "output": 10**6},
    {"input": 10**6, "output": 10**6, "request": 3 * 10**6},
    {"output": 10**6},
    {"input": 10**6 - 1, "batch_input": 500_000},
)
# How much of something, as a function of what is available: nothing, a little, all but one, all, one more, far more.
SIZES: tuple[Callable[[int], int], ...] = (
    lambda available: 0,
    lambda available: 1,
    lambda available: 7,
    lambda available: available // 10,
    lambda available: available // 7 + 1,
    lambda available: available // 2,
    lambda available: available - 1,
    lambda available: available,
    lambda available: available + 1,
    lambda available: 2 * available + 50,
)
OCCURRED: tuple[Callable[[datetime], datetime | None], ...] = (
    lambda now: None,
    lambda now: None,
    lambda now: None,
    lambda now: now - timedelta(minutes=3),
    lambda now: now - timedelta(days=1),
    lambda now: now - timedelta(days=35),
    lambda now: now - timedelta(days=35) - MICROSECOND,
    lambda now: now + timedelta(minutes=5),
    lambda now: now + timedelta(minutes=5) + MICROSECOND,
)

organizations = st.integers(0, ORGANIZATIONS - 1)
any_of_them = st.integers(0, 255)
pauses = st.sampled_from(PAUSES)
sizes = st.integers(0, len(SIZES) - 1)
# Mostly the first model, now and then one that nobody knows.
models = st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
surfaces = st.integers(0, 5)
occurred = st.integers(0, len(OCCURRED) - 1)


class EveryRule:
    """No rule is left out."""

    def is_enabled(self, name: str) -> bool:
        return bool(name)


def pick(sequence: Sequence[Any], number: int) -> Any:
    """The last of a sequence for 0, the one before for 1, and so on, over and over."""
    return sequence[-1 - number % len(sequence)]


class LedgerMachine(RuleBasedStateMachine):
    """One history. ``begin`` makes its two ledgers; it is set by whoever runs the machine."""

    begin: Callable[[datetime], SideBySide]
    # Only for names: what a history tells does not follow from its number, so that it can be told again.
    histories = count(1)

    def __init__(self) -> None:
        super().__init__()
        # Hypothesis would leave out some rules of each history; here a history needs most of them to get anywhere.
        self._rules_strategy.enabled_rules_strategy = st.just(EveryRule())  # type: ignore[attr-defined]
        self.keys = count(1)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    @initialize(starts_at=st.sampled_from(STARTS))
    def open(self, starts_at: datetime) -> None:
        """Three organizations, two of them with credit, and three models."""
        history = next(self.histories)
        self.both = type(self).begin(starts_at)
        self.ids = [self.both.open(f"proof-{history}-{number}") for number in range(ORGANIZATIONS)]
        self.models = [f"m{history}-{number}" for number in range(3)]
        for slug, prices in zip(self.models, PRICES, strict=False):
            self.both.publish(model=slug, prices=prices, effective_at=self.both.at - timedelta(days=20))
        for organization_id in self.ids[:2]:
            self.both.do(
                "grant",
                organization_id=organization_id,
                kind="promotional",
                amount_nano=NANO_PER_CENT,
                reason="to begin with",
            )

    # What is drawn, in terms of what is there

    @property
    def model(self) -> LedgerModel:
        return self.both.model

    def account(self, organization: int) -> Account:
        return self.model.accounts[self.ids[organization]]

    def now(self, organization: int) -> datetime:
        """When an operation would be stamped."""
        account = self.account(organization)
        return max(self.both.at, account.last_at or self.both.at)

    def available(self, organization: int) -> int:
        """What a request could use, or 0."""
        read = self.model.summary(organization_id=self.ids[organization], clock=self.both.at)
        return max(0, read.available_nano)

    def usage(self, organization: int, model: int, size: int, surface: int, *, of: int | None = None) -> Usage:
        """Usage of about that size at the first model's first price: a nano for a unit."""
        available = self.available(organization) if of is None else of
        units = min(10**9, max(0, SIZES[size](available)))
        slug = [*self.models, "unknown"][model]
        output = units // 3 if surface % 2 else 0
        quantities = {"input": units - output}
        if output:
            quantities["output"] = output
        if surface == 5:
            quantities["cache_read"] = 1 if size else 0
        return Usage(slug, quantities, surface=SURFACES[surface % 3], key_ref="" if surface < 4 else "key-1")

    def key(self, name: str) -> str:
        return f"{name}-{next(self.keys)}"

    def uuid(self) -> UUID:
        return UUID(int=next(self.keys))

    def pause(self, by: timedelta) -> None:
        if by:
            self.both.set_clock(self.both.at + by)

    def call(self, operation: str, /, **arguments: Any) -> Any:
        self.calls.append((operation, arguments))
        return self.both.do(operation, **arguments)

    # Time

    @rule(by=st.sampled_from(WAITS))
    def wait(self, by: timedelta) -> None:
        self.both.set_clock(self.both.at + by)

    @rule(number=any_of_them, before=st.booleans())
    def wait_for_a_boundary(self, number: int, before: bool) -> None:
        """Go to the very instant at which a lot or a hold ends or a price begins, or to the microsecond before."""
        ends = {end for account in self.model.accounts.values() for end in self.ends(account)}
        soon = self.soon(ends | {version.effective_at for version in self.model.versions})
        if soon:
            self.both.set_clock(soon[number % min(3, len(soon))] - (MICROSECOND if before else timedelta(0)))

    @rule(organization=organizations, number=any_of_them, before=st.booleans(), size=sizes)
    def ask_at_an_end(self, organization: int, number: int, before: bool, size: int) -> None:
        """Go to the very instant at which a lot or a hold of an account ends, and ask for credit there."""
        soon = self.soon(self.ends(self.account(organization)))
        if not soon:
            return
        self.both.set_clock(soon[number % min(3, len(soon))] - (MICROSECOND if before else timedelta(0)))
        self.call(
            "authorize",
            organization_id=self.ids[organization],
            key=self.key("hold"),
            usage=self.usage(organization, 0, size, 0),
            ttl_seconds=TTLS[number % len(TTLS)],
        )

    @staticmethod
    def ends(account: Account) -> set[datetime]:
        return {lot.expires_at for lot in account.lots} | {hold.expires_at for hold in account.open_holds()}

    def soon(self, instants: set[datetime]) -> list[datetime]:
        return sorted(at for at in instants if self.both.at < at < self.both.at + timedelta(days=60))

    # Operations

    @rule(
        organization=organizations,
        model=models,
        size=sizes,
        surface=surfaces,
        ttl=st.sampled_from(TTLS),
        pause=pauses,
    )
    def authorize(self, organization: int, model: int, size: int, surface: int, ttl: int, pause: timedelta) -> None:
        self.pause(pause)
        self.call(
            "authorize",
            organization_id=self.ids[organization],
            key=self.key("hold"),
            usage=self.usage(organization, model, size, surface),
            ttl_seconds=ttl,
        )

    @rule(organization=organizations, number=any_of_them, size=sizes, used=st.integers(0, 3), pause=pauses)
    def capture(self, organization: int, number: int, size: int, used: int, pause: timedelta) -> None:
        """Capture a hold, standing or not, for less than it holds, exactly that, or more."""
        self.pause(pause)
        account = self.account(organization)
        if not account.holds:
            return
        open_holds = account.open_holds()
        hold = pick(open_holds, number) if open_holds and used else pick(list(account.holds.values()), number)
        units = max(0, SIZES[size](hold.amount_nano))
        quantities = {"input": units} if number % 8 else {"input": units, "cache_read": 1}
        self.call(
            "capture",
            organization_id=account.organization_id,
            hold_id=hold.id,
            key=self.key("capture"),
            quantities=quantities,
        )

    @rule(organization=organizations, number=any_of_them, used=st.integers(0, 3), pause=pauses)
    def void(self, organization: int, number: int, used: int, pause: timedelta) -> None:
        self.pause(pause)
        account = self.account(organization)
        if not account.holds:
            return
        open_holds = account.open_holds()
        hold = pick(open_holds, number) if open_holds and used else pick(list(account.holds.values()), number)
        self.call("void", organization_id=account.organization_id, hold_id=hold.id)

    @rule(organization=organizations, other=organizations, number=any_of_them, is_void=st.booleans())
    def settle_what_is_not_there(self, organization: int, other: int, number: int, is_void: bool) -> None:
        """Another organization's hold is as unknown as one that never was; so is an unknown organization."""
        holds = [UNKNOWN_ID, *self.account(other).holds] if organization != other else [UNKNOWN_ID]
        arguments: dict[str, Any] = {"organization_id": self.ids[organization], "hold_id": pick(holds, number)}
        if number % 16 == 0:
            arguments["organization_id"] = UNKNOWN_ID
        if is_void:
            self.call("void", **arguments)
        else:
            self.call("capture", **arguments, key=self.key("capture"), quantities={"input": 1})

    @rule(operation=st.sampled_from(["authorize", "charge", "usage"]))
    def ask_for_nobody(self, operation: str) -> None:
        """An organization that there is not."""
        arguments: dict[str, Any] = {"organization_id": UNKNOWN_ID, "key": self.key("nobody")}
        arguments["usage"] = Usage(self.models[0], {"input": 1})
        if operation == "authorize":
            self.both.do("authorize", **arguments, ttl_seconds=60)
        else:
            self.both.do("charge", **arguments, operation=operation)

    @rule(
        organization=organizations,
        operation=st.sampled_from(["charge", "usage"]),
        model=models,
        size=sizes,
        surface=surfaces,
        when=occurred,
        pause=pauses,
    )
    def charge(
        self, organization: int, operation: str, model: int, size: int, surface: int, when: int, pause: timedelta
    ) -> None:
        self.pause(pause)
        self.call(
            "charge",
            operation=operation,
            organization_id=self.ids[organization],
            key=self.key(operation),
            usage=self.usage(organization, model, size, surface),
            occurred_at=OCCURRED[when](self.now(organization)),
        )

    @rule(
        drawn=st.lists(st.tuples(organizations, models, sizes, st.integers(0, 11)), min_size=1, max_size=6),
        pause=pauses,
    )
    def charge_many(self, drawn: list[tuple[int, int, int, int]], pause: timedelta) -> None:
        """A batch over several organizations, with keys that were used before, in it and elsewhere."""
        self.pause(pause)
        events: list[Event] = []
        for organization, model, size, variant in drawn:
            key = self.key("batch")
            usage = self.usage(organization, model, size, variant % 6)
            organization_id = self.ids[organization]
            charges = self.account(organization).charges
            if variant == 0 and events:
                events.append(pick(events, size))
                continue
            if variant == 1 and charges:
                key = pick(charges, size).key
            if variant == 2 and size == 0:
                organization_id = UNKNOWN_ID
            served = [row.key for row in self.account(organization).unpriced if row.key]
            if variant == 4 and served:
                key = pick(served, size)
            when = OCCURRED[size % len(OCCURRED)](self.now(organization)) if variant == 3 else None
            operation = "usage" if variant in (4, 5) else "charge"
            events.append(Event(organization_id, key, usage, when, operation))
        self.call("charge_many", events=events)

    @precondition(lambda self: bool(self.calls))
    @rule(number=any_of_them, pause=pauses)
    def call_again(self, number: int, pause: timedelta) -> None:
        """A call that was made before, to the letter."""
        self.pause(pause)
        operation, arguments = pick(self.calls, number)
        self.both.do(operation, **arguments)

    @precondition(lambda self: bool(self.calls))
    @rule(number=any_of_them, other=any_of_them)
    def call_again_with_other_content(self, number: int, other: int) -> None:
        """The key of a call that was made before, with something else."""
        operation, arguments = pick(self.calls, number)
        if operation in ("authorize", "charge"):
            usage: Usage = arguments["usage"]
            changed = Usage(usage.model, {**usage.quantities, "output": 1 + other % 5}, usage.surface, usage.key_ref)
            self.both.do(operation, **{**arguments, "usage": changed})
        elif operation == "capture":
            self.both.do(operation, **{**arguments, "quantities": {"input": other}})
        elif (operation == "grant" and arguments.get("grant_key")) or operation in ("adjust", "take_back"):
            self.both.do(operation, **{**arguments, "amount_nano": arguments["amount_nano"] + 1 + other})
        elif operation == "reverse":
            self.both.do(operation, **{**arguments, "amount_nano": (arguments["amount_nano"] or 0) + 1 + other})

    @rule(
        organization=organizations,
        amount=st.sampled_from(AMOUNTS),
        length=st.sampled_from(LOT_LENGTHS),
        kind=st.sampled_from(["promotional", "adjustment"]),
        is_keyed=st.booleans(),
        pause=pauses,
    )
    def grant(
        self, organization: int, amount: int, length: timedelta | None, kind: str, is_keyed: bool, pause: timedelta
    ) -> None:
        self.pause(pause)
        self.call(
            "grant",
            organization_id=self.ids[organization],
            kind=kind,
            amount_nano=amount,
            expires_at=self.now(organization) + length if length else None,
            reason="for a proof",
            grant_key=self.uuid() if is_keyed else None,
        )

    @rule(organization=organizations, cents=st.integers(1, 3), pause=pauses)
    def buy(self, organization: int, cents: int, pause: timedelta) -> None:
        self.pause(pause)
        organization_id = self.ids[organization]
        arguments = real_ledger.begin_purchase(
            self.both.customers[organization_id], amount_cents=cents, kind="purchase"
        )
        self.call("grant", organization_id=organization_id, **arguments)

    @rule(organization=organizations, limit=st.sampled_from([1, 2, 1_000]), pause=pauses)
    def expire(self, organization: int, limit: int, pause: timedelta) -> None:
        self.pause(pause)
        self.call("expire", organization_id=self.ids[organization], limit=limit)

    @rule(pause=pauses)
    def expire_due(self, pause: timedelta) -> None:
        """The sweep over all organizations, by a clock that was not set back."""
        self.pause(pause)
        times = [account.last_at for account in self.model.accounts.values() if account.last_at]
        if not times or max(times) <= self.both.at:
            self.call("expire_due", limit=SWEEP_LIMIT)

    @rule(organization=organizations, cents=st.sampled_from([None, 0, 1, 2]))
    def set_reload_line(self, organization: int, cents: int | None) -> None:
        """The line follows the settings of auto-reload, as the use case keeps them."""
        AutoReload.objects.update_or_create(
            organization_id=self.ids[organization],
            defaults={
                "is_enabled": cents is not None,
                "minimum_cents": cents or 0,
                "target_cents": 500,
                "monthly_cap_cents": 1_000,
                "updated_at": self.both.at,
            },
        )
        below_nano = None if cents is None else cents * NANO_PER_CENT
        self.both.do("set_reload_line", organization_id=self.ids[organization], below_nano=below_nano)

    @rule(model=st.integers(0, 2), prices=st.sampled_from(PRICES), later=st.sampled_from(WAITS))
    def publish(self, model: int, prices: dict[str, int], later: timedelta) -> None:
        """A version of prices, from now on or from some later time on, if none is announced already."""
        self.publish_from(self.both.at + later, self.models[model], prices)

    def publish_from(self, at: datetime, slug: str, prices: dict[str, int]) -> None:
        """Publish at an instant, or at the first one after it that is possible."""
        # Usage that was charged already keeps its price: a version that began before it would contradict that.
        charges = [charge for account in self.model.accounts.values() for charge in account.charges]
        holds = [hold for account in self.model.accounts.values() for hold in account.holds.values()]
        started = [min(one.started_at, one.charged_at) for one in charges] + [one.authorized_at for one in holds]
        starts_at = max(at, *(one + MICROSECOND for one in started), self.both.at)
        if all(version.effective_at < starts_at for version in self.model.versions if version.model == slug):
            self.both.publish(model=slug, prices=prices, effective_at=starts_at)

    # Corrections

    @rule(
        organization=organizations,
        cause_kind=st.sampled_from(["charge", "charge", "adjustment", "take_back"]),
        number=any_of_them,
        part=st.sampled_from(["all", "all", "half", "one", "too much"]),
        pause=pauses,
    )
    def reverse(self, organization: int, cause_kind: str, number: int, part: str, pause: timedelta) -> None:
        self.pause(pause)
        account = self.account(organization)
        causes: dict[str, list[tuple[int, int]]] = {
            "charge": [(charge.id, charge.amount_nano) for charge in account.charges],
            "adjustment": [(one.id, one.content[0]) for one in account.adjustments],  # type: ignore[misc]
            "take_back": [(one.id, one.answer.taken_nano + one.answer.debt_nano) for one in account.take_backs],  # type: ignore[union-attr]
        }
        cause_id, whole = pick(causes[cause_kind] or [(UNKNOWN_ID, 1)], number // 2)
        amount = {"all": None, "half": max(1, whole // 2), "one": 1, "too much": whole + 1}[part]
        self.call(
            "reverse",
            organization_id=account.organization_id,
            cause_kind=cause_kind,
            cause_id=cause_id,
            key=self.uuid(),
            amount_nano=amount,
            reason="for a proof",
            actor_id=7 if number % 2 else None,
        )

    @rule(organization=organizations, size=sizes, may_owe=st.booleans(), pause=pauses)
    def adjust(self, organization: int, size: int, may_owe: bool, pause: timedelta) -> None:
        self.pause(pause)
        self.call(
            "adjust",
            organization_id=self.ids[organization],
            amount_nano=max(1, SIZES[size](self.available(organization))),
            key=self.uuid(),
            label="Correction",
            reason="for a proof",
            actor_id=7 if size % 2 else None,
            may_owe=may_owe,
        )

    @rule(organization=organizations, number=any_of_them, pause=pauses)
    def settle_unpriced(self, organization: int, number: int, pause: timedelta) -> None:
        """Charge usage that had no price by an adjustment, and report it once more under its key, or the other way."""
        self.pause(pause)
        account = self.account(organization)
        served = [row for row in account.unpriced if row.key]
        if not served:
            return
        row = pick(served, number // 2)
        is_settled_first = bool(number % 2)
        if not is_settled_first:
            if row.model in self.models:
                self.publish_from(self.both.at, row.model, dict.fromkeys(("input", "output", "cache_read"), 10**6))
            self.report_again(account, row)
        self.call(
            "adjust",
            organization_id=account.organization_id,
            amount_nano=1 + number,
            key=self.uuid(),
            label="Usage",
            reason="for a proof",
            actor_id=7,
            may_owe=True,
            unpriced_usage_id=next(id_ for id_, name in account.unpriced_ids.items() if name == row.name),
        )
        if is_settled_first:
            self.report_again(account, row)

    def report_again(self, account: Account, row: Unpriced) -> None:
        """Usage that had no price, once more under its key: a capture of nothing, which needs none."""
        if row.operation == "usage":
            self.call(
                "charge",
                operation="usage",
                organization_id=account.organization_id,
                key=row.key,
                usage=row.usage,
            )
        for operation, arguments in list(self.calls):
            if operation != "capture" or arguments["organization_id"] != account.organization_id:
                continue
            if arguments["key"] == row.key:
                self.call("capture", **{**arguments, "quantities": {}})
                break

    @rule(organization=organizations, number=any_of_them, size=sizes, rest_as_debt=st.booleans(), pause=pauses)
    def take_back(self, organization: int, number: int, size: int, rest_as_debt: bool, pause: timedelta) -> None:
        self.pause(pause)
        account = self.account(organization)
        left = account.remaining()
        lot_id = pick([UNKNOWN_ID, *left], number)
        lot = account.lot(lot_id)
        # Of what is left of the lot, or of all that it once granted.
        whole = lot.granted_nano if lot is not None and number % 4 == 0 else left.get(lot_id, 1)
        self.call(
            "take_back",
            organization_id=account.organization_id,
            lot_id=lot_id,
            amount_nano=max(1, SIZES[size](whole)),
            key=self.uuid(),
            label="Taken back",
            reason="for a proof",
            actor_id=7 if size % 2 else None,
            rest_as_debt=rest_as_debt,
        )

    @rule(
        organization=organizations,
        state=st.sampled_from(["open", "open", "open", "frozen", "closed"]),
        number=any_of_them,
    )
    def set_state(self, organization: int, state: str, number: int) -> None:
        """Frozen for a while; closed, which is for ever, only now and then and never all of them."""
        is_last = organization == ORGANIZATIONS - 1
        if self.account(organization).state == "closed":
            state = "closed" if number % 2 else state
        elif state == "closed" and (number % 2 or not is_last):
            state = "open"
        self.call("set_state", organization_id=self.ids[organization], state=state)

    # Reads

    @rule(
        organization=organizations,
        ahead=st.sampled_from([timedelta(0), *(wait for wait in WAITS if wait > timedelta(0))]),
    )
    def read_ahead(self, organization: int, ahead: timedelta) -> None:
        """What a reader sees at an instant, with nothing booked since."""
        self.both.read(self.ids[organization], at=self.now(organization) + ahead)

    @rule(
        organization=organizations,
        number=any_of_them,
        offset=st.sampled_from([timedelta(0), MICROSECOND, -MICROSECOND]),
    )
    def read_back(self, organization: int, number: int, offset: timedelta) -> None:
        """The balance at an instant of the past at which something happened, or right before or after."""
        account = self.account(organization)
        times = [entry.value_at for entry in account.entries] + [lot.expires_at for lot in account.lots]
        past = [at for at in times if at <= self.now(organization)]
        if past:
            self.both.read_back(account.organization_id, at=pick(past, number) + offset)

    # What makes up most of a history is drawn more often.
    authorize_as_well = authorize
    authorize_once_more = authorize
    capture_as_well = capture
    capture_once_more = capture
    void_as_well = void
    charge_as_well = charge
    charge_many_as_well = charge_many
    grant_as_well = grant
    reverse_as_well = reverse

    def teardown(self) -> None:
        """The whole history once more, from its first entry on."""
        if hasattr(self, "both"):
            self.both.compare_everything()


def run_histories(
    begin: Callable[[datetime], SideBySide], *, histories: int, steps: int, seed: int, shrinks: bool = False
) -> None:
    """Tell histories, those of a seed, until one is red or all are told.

    Shrinking a red one to its shortest form takes minutes, because every attempt writes to the database.
    """
    LedgerMachine.begin = begin
    run_state_machine_as_test(
        hypothesis.seed(seed)(LedgerMachine),
        settings=hypothesis.settings(
            max_examples=histories,
            stateful_step_count=steps,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
            database=None,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
