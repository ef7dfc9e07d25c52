"""Expiry is a predicate: page, gate, balance and charge agree at a lot's end, whether or not anybody has booked it."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client, override_settings
from django.urls import reverse
from django.utils.html import strip_tags

from accounts.models import Membership
from billing.api.known import organization_ids
from billing.credits import expiry, ledger, queries
from billing.models import CreditAccount, CreditEvent, CreditLot, Hold, LedgerEntry
from billing.tests.customer import Customer, publish_price
from billing.tests.gateway import Gateway

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = datetime(2026, 6, 1, 17, 45, 30, 123456, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CREDIT_NANO = 25 * 10**9


@pytest.fixture
def clock(credits_clock):
    """The ledger's clock, standing at START."""
    credits_clock.set(START)
    return credits_clock


@pytest.fixture
def ending(clock, web, gateway: Gateway) -> Customer:
    """The gateway's customer with $25.00 in one lot that ends at END, and the model that costs one nano a unit."""
    publish_price()
    customer = Customer("acme")
    # This process may remember the "acme" of a test before, whose rows are gone.
    organization_ids.forget("acme")
    customer.give(CREDIT_NANO, expires_at=END)
    return customer


@pytest.fixture
def web(settings) -> dict[str, Any]:
    """The settings of the web process, before the gate's take their place."""
    return {"ROOT_URLCONF": settings.ROOT_URLCONF, "MIDDLEWARE": list(settings.MIDDLEWARE)}


def billing_page(customer: Customer, web: dict[str, Any]) -> str:
    """The text of the Billing page, as the buyer sees it."""
    buyer = customer.buyer()
    Membership.objects.get_or_create(organization=customer.organization, user=buyer, defaults={"role": "admin"})
    with override_settings(**web):
        browser = Client()
        browser.force_login(buyer)
        response = browser.get(reverse("billing:overview", args=["acme"]))
    assert response.status_code == 200
    return " ".join(strip_tags(response.content.decode()).split())


def gate_answers(gateway: Gateway, *, key: str) -> dict[str, int]:
    """What the gate says: the balance it tells, and the status of an authorization and of a charge of one unit."""
    usage = gateway.usage(key, model="one-nano-a-unit", quantities={"input": 1})
    balance = gateway.get("balance?organization=acme").json()
    return {
        "available": balance["available_nano"],
        "authorize": gateway.post("authorize", usage).status_code,
        "charge": gateway.post("charge", usage | {"idempotency_key": key + "c"}).status_code,
    }


def test_case_063_and_057_and_122_page_gate_balance_and_charge_agree_on_both_sides_of_a_lots_end(
    ending, clock, gateway, web
):
    """No worker runs here: nothing but the clock tells the two sides apart."""
    clock.set(END - MICROSECOND)
    assert ending.summary().available_nano == CREDIT_NANO
    assert [lot.left_nano for lot in ending.lots()] == [CREDIT_NANO]
    page = billing_page(ending, web)
    assert "API running" in page
    assert "$25.00" in page
    assert gate_answers(gateway, key="before") == {"available": CREDIT_NANO, "authorize": 201, "charge": 201}
    assert ending.charge(1, key="direct").outcome == "charged"

    clock.set(END)
    entries_before = ending.entries()
    assert ending.summary().available_nano == 0
    # The open authorization of one unit pins its lot; everything else of it has ended.
    assert [(lot.left_nano, lot.held_nano) for lot in ending.lots()] == [(1, 1)]
    page = billing_page(ending, web)
    assert "API stopped" in page
    assert "API running" not in page
    assert gate_answers(gateway, key="at") == {"available": 0, "authorize": 402, "charge": 402}
    assert ending.charge(1, key="direct at").outcome == "insufficient"
    assert ending.authorize(1, key="direct at").outcome == "insufficient"
    assert ending.lock().available_nano == 0
    assert ending.entries() == entries_before


def test_after_the_sweep_one_expiry_entry_stands_with_the_lots_end_as_its_time(ending, clock):
    clock.set(END + timedelta(hours=3))
    assert expiry.book_due() == []
    assert expiry.book_due() == []
    entry = LedgerEntry.objects.get(kind="expiry")
    assert (entry.amount_nano, entry.value_at, entry.booked_at) == (-CREDIT_NANO, END, END + timedelta(hours=3))
    assert (ending.summary().balance_nano, ending.summary().available_nano) == (0, 0)
    [ended] = queries.ended_lots(organization_id=ending.id, at=END + timedelta(hours=3))
    assert ended.expired_nano == CREDIT_NANO


def test_case_059_two_sweepers_at_once_book_a_lot_once(ending, clock):
    for number in range(5):
        other = Customer(f"other-{number}")
        other.give(10, expires_at=END)
    clock.set(END)
    begin = threading.Barrier(4)
    failures: list[Exception] = []

    def sweep() -> None:
        try:
            begin.wait()
            expiry.book_due()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    booked = LedgerEntry.objects.filter(kind="expiry").values_list("lot_id", flat=True)
    assert sorted(booked) == sorted(CreditLot.objects.values_list("id", flat=True))


def test_case_060_the_sweep_leaves_lots_alone_until_their_end(ending, clock):
    clock.set(END - MICROSECOND)
    assert expiry.book_due() == []
    assert not LedgerEntry.objects.filter(kind="expiry").exists()
    assert ending.summary().available_nano == CREDIT_NANO


def test_case_058_the_sweep_takes_only_what_is_left_of_the_ended_lot(ending, clock):
    kept = ending.give(1_000).lot_id
    [ended] = set(ending.remaining()) - {kept}
    ending.charge(10**9, key="a")
    clock.set(END)
    expiry.book_due()
    assert ending.entries()[-1] == ("expiry", ended, 10**9 - CREDIT_NANO)
    assert ending.remaining() == {ended: 0, kept: 1_000}


def test_a_used_up_lot_leaves_no_expiry_entry(customer, clock):
    customer.give(100, expires_at=END)
    customer.charge(100, key="a")
    clock.set(END)
    expiry.book_due()
    assert not LedgerEntry.objects.filter(kind="expiry").exists()


def test_case_061_the_sweep_covers_organizations_without_any_activity(clock, customer):
    quiet = [Customer(f"quiet-{number}") for number in range(3)]
    for organization in quiet:
        organization.give(10, expires_at=END)
    clock.set(END)
    expiry.book_due()
    assert LedgerEntry.objects.filter(kind="expiry").count() == 3


def test_case_068_crossing_a_lots_end_makes_a_reload_due_without_traffic(ending, clock):
    ledger.set_reload_line(organization_id=ending.id, below_nano=10**9)
    clock.set(END)
    assert expiry.book_due() == [ending.id]
    assert ending.summary().low_at == END
    assert expiry.book_due() == []


def test_case_069_an_authorized_request_is_paid_by_its_lot_and_the_rest_is_gone(ending, clock):
    """With the sweep in between: it books what was free, the hold keeps what was promised."""
    hold_id = ending.hold(100, key="h", ttl_seconds=600)
    [lot] = ending.remaining()
    clock.set(END - MICROSECOND)
    late = ending.hold(50, key="late", ttl_seconds=600)
    clock.set(END)
    expiry.book_due()
    clock.set(END + timedelta(minutes=5))
    result = ending.capture(late, 30)
    assert (result.outcome, result.amount_nano, result.debt_nano) == ("charged", 30, 0)
    assert ending.entries()[-2:] == [("burn", lot, -30), ("return_expired", lot, -20)]
    # The first hold had lapsed months before: its credit was free again and ended with the lot.
    assert ending.capture(hold_id, 1).debt_nano == 1


@pytest.mark.parametrize(
    ("bought_at", "ends_at"),
    [
        ("2027-03-01T17:45:30+00:00", "2028-03-01T17:45:30+00:00"),
        ("2028-02-29T23:59:59.999999+00:00", "2029-02-28T23:59:59.999999+00:00"),
        ("2027-02-28T00:00:00+00:00", "2028-02-28T00:00:00+00:00"),
        ("2026-12-31T23:30:00+00:00", "2027-12-31T23:30:00+00:00"),
        # 29 February in UTC, 1 March in Berlin: the anniversary is the one in UTC.
        ("2028-02-29T23:30:00+00:00", "2029-02-28T23:30:00+00:00"),
        # A night of summer time in Berlin: a day has 24 hours here.
        ("2026-03-29T00:30:00+00:00", "2027-03-29T00:30:00+00:00"),
    ],
)
def test_case_062_credit_ends_at_the_calendar_anniversary_in_utc_to_the_microsecond(
    customer, credits_clock, bought_at, ends_at
):
    credits_clock.set(datetime.fromisoformat(bought_at))
    purchase = customer.begin_purchase(500)
    with connection.cursor() as cursor:
        cursor.execute("set time zone 'Europe/Berlin'")
    ledger.grant(
        organization_id=customer.id,
        kind=CreditLot.Kind.PURCHASE,
        amount_nano=purchase.credit_nano,
        purchase_id=purchase.pk,
    )
    with connection.cursor() as cursor:
        cursor.execute("reset time zone")
    lot = purchase.lots.get()
    assert lot.effective_at == datetime.fromisoformat(bought_at)
    assert lot.expires_at == datetime.fromisoformat(ends_at)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles", "Europe/Berlin"])
def test_case_065_no_time_zone_or_date_style_of_a_session_changes_an_end_or_a_hash(ending, clock, zone):
    with connection.cursor() as cursor:
        cursor.execute(f"set time zone '{zone}'")
        cursor.execute("set datestyle = 'SQL, DMY'")
        cursor.execute("set extra_float_digits = -15")
        cursor.execute("set bytea_output = 'escape'")
        try:
            clock.set(END - MICROSECOND)
            assert ending.charge(1, key="before").outcome == "charged"
            clock.set(END)
            assert ending.charge(1, key="at").outcome == "insufficient"
            cursor.execute(
                "select e.hash = sha256(p.hash || record_send(row(e.organization_id, e.seq, 'burn'::text, e.lot_id,"
                " e.amount_nano, 'charge'::text, e.cause_id, null::bigint, null::bigint, e.value_at, e.booked_at,"
                " e.balance_after_nano, 'before'::bytea)))"
                " from billing_ledgerentry e join billing_ledgerentry p"
                " on p.organization_id = e.organization_id and p.seq = e.seq - 1 where e.kind = 'burn'"
            )
            assert cursor.fetchall() == [(True,)]
        finally:
            for name in ("timezone", "datestyle", "extra_float_digits", "bytea_output"):
                cursor.execute(f"reset {name}")


def test_lots_between_two_pages_of_time_are_in_one_list_only(customer, clock):
    """A lot is live, or it has ended; reserved by a hold that lapsed, it is still one of the two."""
    end = START + timedelta(minutes=30)
    lot = customer.give(100, expires_at=end).lot_id
    customer.hold(100, key="h", ttl_seconds=600)
    for at, live, ended in [
        (START, [lot], []),
        (START + timedelta(minutes=20), [lot], []),
        (end - MICROSECOND, [lot], []),
        (end, [], [lot]),
    ]:
        clock.set(at)
        assert [line.id for line in customer.lots()] == live
        assert [line.id for line in queries.ended_lots(organization_id=customer.id, at=at)] == ended
    assert queries.ended_lots(organization_id=customer.id, at=end)[0].expired_nano == 100


@pytest.mark.parametrize(("line_nano", "is_due"), [(7, False), (8, True)])
def test_what_the_sweep_books_makes_a_reload_due_once_and_only_below_the_line(clock, line_nano, is_due):
    publish_price()
    customer = Customer("acme")
    customer.give(10, expires_at=START + timedelta(hours=1))
    customer.give(7)
    ledger.set_reload_line(organization_id=customer.id, below_nano=line_nano)
    clock.advance(timedelta(hours=1))
    expiry.book_due()
    expiry.book_due()
    told = list(CreditEvent.objects.filter(organization_id=customer.id).values_list("kind", flat=True))
    assert told == (["reload_due"] if is_due else [])
    assert (CreditAccount.objects.get(organization_id=customer.id).low_at is not None) == is_due


def test_a_sweep_books_as_many_as_it_may_in_transactions_of_a_few(clock, monkeypatch):
    customer = Customer("acme")
    for _ in range(7):
        customer.give(10, expires_at=END)
    clock.set(END)
    asked: list[int] = []

    def expire_due(*, limit: int) -> ledger.ExpiredDue:
        asked.append(limit)
        return real(limit=limit)

    real = ledger.expire_due
    monkeypatch.setattr(ledger, "expire_due", expire_due)
    monkeypatch.setattr(expiry, "LOTS_PER_TRANSACTION", 2)
    expiry.book_due(limit=5)
    assert asked == [2, 2, 1]
    assert list(customer.remaining().values()) == [0] * 5 + [10] * 2
    asked.clear()
    expiry.book_due(limit=100)
    assert asked == [2, 2], "and nothing is due any more"


# What an organization has when its lots end: how much is held by a hold that is still open then, how much by one that
# has lapsed and not come back yet, and the line of auto-reload. 40 of its credit is live afterwards.
ACCOUNTS = [
    {"open": 0, "lapsed": 0, "line": None},
    {"open": 15, "lapsed": 0, "line": 56},
    {"open": 15, "lapsed": 0, "line": 55},
    {"open": 0, "lapsed": 15, "line": 41},
    {"open": 15, "lapsed": 15, "line": 55},
    {"open": 15, "lapsed": 15, "line": 56},
    {"open": 0, "lapsed": 15, "line": None, "live": 0},
    {"open": 0, "lapsed": 0, "line": 1, "live": 0},
    {"open": 0, "lapsed": 0, "line": 1_000},
    {"open": 0, "lapsed": 15, "line": 1_000},
    {"open": 0, "lapsed": 0, "line": None, "live": 0, "is_refused": True},
    {"open": 0, "lapsed": 0, "line": 41, "is_refused": True},
    {"open": 0, "lapsed": 0, "line": 41, "is_single": True},
    {"open": 0, "lapsed": 0, "line": None, "live": 0, "is_single": True},
]


def with_ending_lots(
    slug: str,
    clock,
    *,
    open: int,
    lapsed: int,
    line: int | None,
    live: int = 40,
    is_refused: bool = False,
    is_single: bool = False,
) -> Customer:
    clock.set(END - timedelta(minutes=30))
    customer = Customer(slug)
    customer.give(10, expires_at=END)
    if not is_single:
        customer.give(20, expires_at=END - timedelta(minutes=1))
        customer.give(30, expires_at=END)
    if live:
        customer.give(live)
    if lapsed:
        customer.hold(lapsed, key="lapsed", ttl_seconds=60)
    if open:
        customer.hold(open, key="open", ttl_seconds=3_600)
    if is_refused:
        customer.charge(1_000, key="too much")
    # Afterwards: a refusal would make the reload due.
    ledger.set_reload_line(organization_id=customer.id, below_nano=line)
    return customer


def books_of(customer: Customer) -> list[Any]:
    """All that the sweep may change, with lots by their place in the story."""
    lots = list(CreditLot.objects.filter(organization_id=customer.id).order_by("id").values_list("id", flat=True))
    entries = [
        (entry.kind, lots.index(entry.lot_id), entry.amount_nano, entry.value_at, entry.balance_after_nano)
        for entry in LedgerEntry.objects.filter(organization_id=customer.id, booked_at__gte=END).order_by("seq")
    ]
    account = CreditAccount.objects.get(organization_id=customer.id)
    events = CreditEvent.objects.filter(organization_id=customer.id).order_by("id").values_list("kind", "occurred_at")
    sums = (account.unreserved_nano, account.held_nano, account.low_at, account.low_cause, account.exhausted_at)
    return [entries, sums, list(events), list(customer.remaining().values())]


def test_the_sweep_of_many_accounts_books_what_a_sweep_of_each_would(clock):
    publish_price()
    alone = [with_ending_lots(f"alone-{number}", clock, **account) for number, account in enumerate(ACCOUNTS)]
    clock.set(END)
    one_by_one = [ledger.expire(organization_id=customer.id) for customer in alone]
    together = [with_ending_lots(f"together-{number}", clock, **account) for number, account in enumerate(ACCOUNTS)]
    clock.set(END)
    swept = ledger.expire_due(limit=100)
    assert [books_of(customer) for customer in together] == [books_of(customer) for customer in alone]
    assert swept.booked == sum(expired.booked for expired in one_by_one) > 2 * len(ACCOUNTS)
    assert sorted(swept.newly_low) == [
        customer.id for customer, expired in zip(together, one_by_one, strict=True) if expired.is_newly_low
    ]
    assert [expired.is_newly_low for expired in one_by_one] == [
        False, True, False, True, False, True, False, True, False, False, False, True, True, False,
    ]  # fmt: skip
    # Sooner end first, then the older lot.
    [entries, *_], *_ = (books_of(customer) for customer in alone)
    assert [(kind, lot) for kind, lot, *_ in entries] == [("expiry", 1), ("expiry", 0), ("expiry", 2)]


def test_the_sweep_chains_the_entries_of_accounts_with_one_ending_lot_and_with_several(clock, owner_connection):
    customers = [
        with_ending_lots(f"acme-{number}", clock, open=0, lapsed=0, line=None, is_single=number % 2 == 1)
        for number in range(4)
    ]
    clock.set(END)
    ledger.expire_due(limit=100)
    booked = owner_connection.execute(
        "select e.organization_id, e.seq, e.hash = sha256(p.hash || record_send(row(e.organization_id, e.seq,"
        " 'expiry'::text, e.lot_id, e.amount_nano, 'lot'::text, e.lot_id, null::bigint, null::bigint, e.value_at,"
        " e.booked_at, e.balance_after_nano, null::bytea))), (e.seq, e.hash) = (a.last_seq, a.last_hash)"
        " from billing_ledgerentry e join billing_creditaccount a on a.organization_id = e.organization_id"
        " join billing_ledgerentry p on p.organization_id = e.organization_id and p.seq = e.seq - 1"
        " where e.kind = 'expiry' order by e.id"
    ).fetchall()
    several, one = [(5, True, False), (6, True, False), (7, True, True)], [(3, True, True)]
    assert booked == [
        (customer.id, *entry)
        for customer in sorted(customers, key=lambda customer: customer.id)
        for entry in (one if customer in customers[1::2] else several)
    ]


@pytest.mark.parametrize(("live", "told"), [(7, ["reload_due"]), (0, ["reload_due", "exhausted"])])
def test_a_lot_that_is_left_for_the_next_transaction_counts_no_more_either(clock, live, told):
    customer = with_ending_lots("acme", clock, open=0, lapsed=0, line=8, live=live)
    clock.set(END)
    assert [ledger.expire_due(limit=1) for _ in range(4)] == [
        ledger.ExpiredDue(booked=1, newly_low=[customer.id]),
        ledger.ExpiredDue(booked=1, newly_low=[]),
        ledger.ExpiredDue(booked=1, newly_low=[]),
        ledger.ExpiredDue(booked=0, newly_low=[]),
    ]
    events = CreditEvent.objects.filter(organization_id=customer.id).order_by("id")
    assert list(events.values_list("kind", "occurred_at")) == [(kind, END) for kind in told]


@pytest.mark.parametrize("others", [0, 1])
def test_the_sweep_gives_lapsed_holds_back_where_a_lot_is_due_and_nowhere_else(clock, others):
    publish_price()
    with_ending_lots("due", clock, open=0, lapsed=15, line=None)
    for _ in range(others):
        other = Customer("other")
        other.give(100)
        other.hold(5, key="lapsed", ttl_seconds=60)
    clock.set(END)
    ledger.expire_due(limit=100)
    assert list(Hold.objects.order_by("id").values_list("state", flat=True)) == ["lapsed", *["open"] * others]


def test_a_sweep_of_an_organization_that_is_not_there_books_nothing(clock):
    expired = ledger.expire(organization_id=10**6)
    assert (expired.booked, expired.is_newly_low) == (0, False)


def test_a_sweep_of_one_account_takes_the_soonest_ends_first(clock):
    publish_price()
    customer = with_ending_lots("acme", clock, open=0, lapsed=0, line=None)
    clock.set(END)
    assert ledger.expire(organization_id=customer.id, limit=2).booked == 2
    assert list(customer.remaining().values()) == [0, 0, 30, 40]
