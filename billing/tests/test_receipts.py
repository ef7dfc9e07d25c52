"""Receipts and credit notes: one for each cause, numbered without gaps, and never changed afterwards."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import Organization
from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger
from billing.models import BillingDetails, CreditNote, DocumentCounter, Purchase, Receipt
from billing.payments import purchases, receipts
from billing.tests.buyer import at_once
from billing.tests.documents import granted, paid
from billing.tests.test_database_rights import refused

CONCURRENT = 6
ROUNDS = 6


class Failed(Exception):
    """What ends a transaction of these tests."""


@pytest.fixture
def acme(db):
    return cast.organization("Acme Robotics", time_zone="Europe/Berlin")


@pytest.fixture
def maya(acme):
    return cast.member(acme, role=Role.ADMIN, name="Maya Lindqvist").user


@pytest.fixture
def seller(settings):
    settings.SELLER_NAME = "Example Platform Inc."
    settings.SELLER_ADDRESS = "1 Harbor Street\nSan Francisco, CA 94105\nUnited States"
    settings.SELLER_TAX_ID = "US 12-3456789"
    settings.SELLER_EMAIL = "billing@example.com"
    return settings


def details_of(organization: Organization, by: Any, **changes: str) -> BillingDetails:
    values = {
        "legal_name": "Acme Robotics GmbH",
        "address_line1": "Kanalstraße 7",
        "address_line2": "",
        "postal_code": "10117",
        "city": "Berlin",
        "country": "DE",
        "tax_id": "DE123456789",
        "reference": "PO-2026-114",
        **changes,
    }
    with connection.cursor() as cursor:
        cursor.execute("select credits_clock()")
        (now,) = cursor.fetchone()
    return BillingDetails.objects.update_or_create(
        organization=organization, defaults={**values, "updated_at": now, "updated_by": by}
    )[0]


# One receipt for each purchase


def test_each_purchase_that_is_paid_has_one_receipt(buyer):
    buyer.save_card()
    first, second = buyer.buy(2_500), buyer.buy(4_000)
    purchases.settle(purchase_id=first.pk, at=buyer.now())
    rows = list(Receipt.objects.order_by("number").values_list("purchase_id", "number", "total_cents"))
    assert rows == [(first.pk, 1, 2_500), (second.pk, 2, 4_000)]


def test_a_reload_has_a_receipt_too(buyer):
    buyer.save_card()
    buyer.arm(500, 2_000)
    purchase = buyer.attempt()
    receipt = Receipt.objects.get(purchase=purchase)
    assert (receipt.purchase_kind, receipt.total_cents, receipt.number_text) == ("auto_reload", 2_000, "R-000001")


def test_a_purchase_that_is_not_paid_has_none(buyer):
    buyer.save_card("4000000000000341")
    assert buyer.buy(2_500).state == Purchase.State.FAILED
    assert not Receipt.objects.exists()


def test_a_receipt_says_who_sold_what_to_whom(seller, acme, maya):
    details_of(acme, maya)
    receipt = paid(acme, by=maya, amount_cents=2_500, reference="PO-7")
    assert receipt.seller_name == "Example Platform Inc."
    assert receipt.seller_address == "1 Harbor Street\nSan Francisco, CA 94105\nUnited States"
    assert (receipt.seller_tax_id, receipt.seller_email) == ("US 12-3456789", "billing@example.com")
    assert receipt.buyer_name == "Acme Robotics GmbH"
    assert receipt.buyer_address == "Kanalstraße 7\n10117 Berlin\nGermany"
    assert (receipt.buyer_tax_id, receipt.reference) == ("DE123456789", "PO-7")
    assert (receipt.net_cents, receipt.tax_cents, receipt.total_cents) == (2_500, 0, 2_500)
    assert (receipt.card_brand, receipt.card_last4) == ("Visa", "4242")
    assert (receipt.credit_nano, receipt.debt_paid_nano, receipt.spendable_nano) == (25 * 10**9, 0, 25 * 10**9)
    assert receipt.expires_at == receipt.issued_at.replace(year=receipt.issued_at.year + 1)
    assert receipt.terms_version == receipt.purchase.terms_version
    assert receipt.time_zone == "Europe/Berlin"


def test_without_billing_details_the_organization_stands_on_the_receipt(acme, maya, settings):
    settings.SELLER_NAME = ""
    receipt = paid(acme, by=maya)
    assert (receipt.buyer_name, receipt.buyer_address) == ("Acme Robotics", "")
    assert receipt.seller_name == "Example Platform"


def test_a_reload_carries_the_usual_reference_and_a_purchase_only_its_own(acme, maya):
    details_of(acme, maya)
    assert paid(acme, by=maya).reference == ""
    assert paid(acme, by=maya, kind=Purchase.Kind.AUTO_RELOAD).reference == "PO-2026-114"


def test_case_129_what_was_printed_stays_when_seller_and_buyer_change(seller, acme, maya):
    details_of(acme, maya)
    before = Receipt.objects.filter(pk=paid(acme, by=maya).pk).values().get()
    seller.SELLER_NAME = "Another Company"
    seller.PLATFORM_NAME = "Another Platform"
    details_of(acme, maya, legal_name="Acme Holding SE", country="FR", tax_id="FR12345678901")
    Organization.objects.filter(pk=acme.pk).update(name="Renamed", time_zone="UTC")
    assert Receipt.objects.filter(pk=before["id"]).values().get() == before


def test_a_receipt_tells_what_paid_debt_and_what_was_left(buyer):
    buyer.save_card()
    buyer.overspend(400)
    receipt = Receipt.objects.get(purchase=buyer.buy(2_500))
    assert (receipt.debt_paid_nano, receipt.spendable_nano) == (4 * 10**9, 21 * 10**9)
    later = Receipt.objects.get(purchase=buyer.buy(1_000))
    assert (later.debt_paid_nano, later.spendable_nano) == (0, 10 * 10**9)


def test_a_receipt_of_a_purchase_that_only_paid_debt_leaves_nothing(buyer):
    buyer.save_card()
    buyer.overspend(3_000)
    receipt = Receipt.objects.get(purchase=buyer.buy(2_500))
    assert (receipt.debt_paid_nano, receipt.spendable_nano) == (25 * 10**9, 0)


def test_too_long_a_setting_never_stops_a_payment(settings, acme, maya):
    settings.SELLER_NAME = settings.PLATFORM_NAME = "x" * 1_000
    settings.SELLER_ADDRESS = settings.SELLER_TAX_ID = settings.SELLER_EMAIL = "y" * 1_000
    assert paid(acme, by=maya).seller_name == "x" * 200


# Credit notes


def credit(receipt: Receipt, cents: int, cause_id: int = 1, *, kind: receipts.CauseKind = "refund") -> Any:
    with transaction.atomic():
        account = ledger.lock(organization_id=receipt.organization_id)
        return receipts.issue_credit_note(
            purchase=receipt.purchase, amount_cents=cents, cause_kind=kind, cause_id=cause_id, at=account.locked_at
        )


def cancel(receipt: Receipt, cause_id: int = 1, *, kind: receipts.CauseKind = "refund") -> Any:
    with transaction.atomic():
        account = ledger.lock(organization_id=receipt.organization_id)
        return receipts.cancel_credit_note(cause_kind=kind, cause_id=cause_id, at=account.locked_at)


def test_a_cause_has_one_credit_note_however_often_it_is_told(acme, maya):
    receipt = paid(acme, by=maya)
    note = credit(receipt, 1_000)
    assert credit(receipt, 1_000) == note
    assert credit(receipt, 700) == note
    assert (note.number_text, note.total_cents, note.receipt) == ("CN-000001", 1_000, receipt)
    other = credit(receipt, 500, kind="dispute")
    assert (other.number, other.total_cents) == (2, 500)


def test_credit_notes_never_exceed_what_was_paid(acme, maya):
    receipt = paid(acme, by=maya, amount_cents=2_500)
    assert credit(receipt, 1_000, 1).total_cents == 1_000
    # A bank takes all of a payment of which a part went back before.
    assert credit(receipt, 2_500, 1, kind="dispute").total_cents == 1_500
    assert credit(receipt, 100, 2) is None
    assert DocumentCounter.objects.get(series="credit_note").last_number == 2


def test_a_credit_note_names_the_parties_of_its_receipt(seller, acme, maya):
    details_of(acme, maya)
    receipt = paid(acme, by=maya, reference="PO-7")
    seller.SELLER_NAME = "Another Company"
    details_of(acme, maya, legal_name="Acme Holding SE")
    note = credit(receipt, 1_000)
    for name in ("seller_name", "seller_address", "buyer_name", "buyer_address", "buyer_tax_id", "reference"):
        assert getattr(note, name) == getattr(receipt, name), name


def test_a_refund_that_failed_after_all_cancels_its_credit_note_once(acme, maya):
    receipt = paid(acme, by=maya)
    note = credit(receipt, 2_500)
    undoing = cancel(receipt)
    assert cancel(receipt) == undoing
    assert (undoing.cancels, undoing.number, undoing.total_cents) == (note, 2, 2_500)
    assert credit(receipt, 2_500) == note
    # What was canceled can be credited again, for another cause.
    assert credit(receipt, 2_500, 2).total_cents == 2_500
    assert cancel(receipt, 99) is None


@pytest.mark.parametrize("parts", [[1], [11_900], [1] * 7, [3_333, 3_333, 5_234], [5_950, 5_950]])
def test_credit_notes_over_all_of_a_receipt_credit_all_of_its_tax(acme, maya, parts):
    receipt = paid(acme, by=maya, amount_cents=11_900, credit_cents=10_000)
    assert (receipt.net_cents, receipt.tax_cents, receipt.tax_text) == (10_000, 1_900, "Tax")
    notes = [credit(receipt, cents, cause_id) for cause_id, cents in enumerate(parts)]
    assert all(note.tax_cents >= 0 and note.net_cents >= 0 for note in notes)
    credited = sum(note.total_cents for note in notes)
    assert sum(note.tax_cents for note in notes) == 1_900 * credited // 11_900


def test_a_purchase_without_a_receipt_gets_it_with_its_credit_note(acme, maya):
    purchase = granted(acme, by=maya)
    with transaction.atomic():
        account = ledger.lock(organization_id=acme.pk)
        note = receipts.issue_credit_note(
            purchase=purchase, amount_cents=500, cause_kind="refund", cause_id=1, at=account.locked_at
        )
    assert note.receipt == Receipt.objects.get(purchase=purchase)
    assert note.receipt.issued_at == purchase.settled_at
    assert note.issued_at >= note.receipt.issued_at


# Numbers


def numbers(model: Any = Receipt) -> list[int]:
    return list(model.objects.order_by("number").values_list("number", flat=True))


def gaps(given: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in pairwise([0, *sorted(given)]) if b != a + 1]


def race(work: Callable[[int, int], None]) -> None:
    """Six at the same time, six rounds each."""

    def rounds(place: int) -> None:
        for number in range(ROUNDS):
            work(place, number)

    for outcome in at_once([partial(rounds, place) for place in range(CONCURRENT)]):
        if isinstance(outcome, BaseException):
            raise outcome


@pytest.mark.django_db(transaction=True)
def test_numbers_from_a_sequence_have_gaps_and_numbers_that_are_looked_up_come_twice(owner_connection, role_address):
    """What the counter is for: the same race, first with what databases offer, then with a look at the last number."""
    owner_connection.execute("create table naive_document (number bigint); create sequence naive_number")
    owner_connection.execute("grant select, insert on naive_document to console_app")

    def naive(next_number: str, place: int, round_number: int) -> None:
        with psycopg.connect(role_address("console_owner")) as own:
            row = own.execute(f"select {next_number}").fetchone()
            own.execute("insert into naive_document select %s from pg_sleep(0.002)", [row[0]])
            if (place + round_number) % 3 == 0:
                own.rollback()

    try:
        race(partial(naive, "nextval('naive_number')"))
        given = [number for (number,) in owner_connection.execute("select number from naive_document").fetchall()]
        assert gaps(given)
        owner_connection.execute("delete from naive_document")
        race(partial(naive, "(select coalesce(max(number), 0) + 1 from naive_document)"))
        given = [number for (number,) in owner_connection.execute("select number from naive_document").fetchall()]
        assert len(given) > len(set(given))
    finally:
        owner_connection.execute("drop table naive_document; drop sequence naive_number")


@pytest.mark.django_db(transaction=True)
def test_numbers_have_no_gap_under_concurrency_and_rollbacks():
    buyers = []
    for place in range(CONCURRENT):
        organization = cast.organization(f"Buyer {place}")
        buyers.append((organization, cast.member(organization, role=Role.BILLING).user))

    def work(place: int, round_number: int) -> None:
        organization, user = buyers[place]
        try:
            with transaction.atomic():
                receipt = paid(organization, by=user)
                credit(receipt, 100, receipt.pk)
                if (place + round_number) % 3 == 0:
                    raise Failed
        except Failed:
            pass

    race(work)
    kept = CONCURRENT * ROUNDS * 2 // 3
    assert numbers(Receipt) == numbers(CreditNote) == list(range(1, kept + 1))
    assert {row.series: row.last_number for row in DocumentCounter.objects.all()} == {
        "receipt": kept,
        "credit_note": kept,
    }


@pytest.mark.django_db(transaction=True)
def test_a_number_without_a_document_can_not_be_committed(acme, maya):
    """An insert that gives way to a row that stands has taken its number already."""
    receipt = paid(acme, by=maya)
    again = Receipt.objects.get(pk=receipt.pk)
    again.pk = None
    with pytest.raises(DatabaseError, match="number 2 of series receipt was taken and has no document"):
        Receipt.objects.bulk_create([again], ignore_conflicts=True)
    assert paid(acme, by=maya).number == 2


@pytest.mark.django_db(transaction=True)
def test_two_that_settle_one_purchase_write_one_receipt(buyer):
    buyer.save_card()
    buyer.stripe.control.add_fault("cut_after", method="POST", path="/v1/payment_intents", times=3)
    purchase = buyer.buy(2_500)
    intent = buyer.journal("succeeded")[0]["payment_intent"]
    settle = partial(purchases.settle, purchase_id=purchase.pk, at=buyer.now(), payment_intent_id=intent)
    at_once([settle] * 4)
    assert numbers() == [1]
    assert Receipt.objects.get().purchase == purchase


# History


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["billing_receipt", "billing_creditnote"])
def test_nobody_changes_or_removes_a_document(acme, maya, role_address, owner_connection, table):
    credit(paid(acme, by=maya), 500)
    with psycopg.connect(role_address("console_app"), autocommit=True) as runtime:
        for someone in (runtime, owner_connection):
            refused(someone, f"update {table} set total_cents = total_cents")
            refused(someone, f"update {table} set buyer_name = 'Somebody else'")
            refused(someone, f"delete from {table}")
            refused(someone, f"truncate {table} cascade")
        refused(runtime, f"alter table {table} disable trigger all")
        refused(runtime, f"drop table {table} cascade")


@pytest.mark.django_db(transaction=True)
def test_nobody_turns_the_counter_of_documents(acme, maya, role_address, owner_connection):
    paid(acme, by=maya)
    table = "billing_documentcounter"
    with psycopg.connect(role_address("console_app"), autocommit=True) as runtime:
        for statement in (
            f"update {table} set last_number = last_number + 1",
            f"insert into {table} values ('receipt', 7)",
            f"delete from {table}",
            f"truncate {table}",
            f"select * from {table} for update",
        ):
            refused(runtime, statement)
    for statement in (
        f"update {table} set last_number = 0",
        f"update {table} set last_number = last_number + 2",
        f"update {table} set series = 'other'",
        f"insert into {table} values ('credit_note', 7)",
        f"delete from {table}",
        f"truncate {table}",
    ):
        refused(owner_connection, statement)
    with pytest.raises(psycopg.errors.CheckViolation, match="has no document"):
        owner_connection.execute(f"update {table} set last_number = last_number + 1")
    assert paid(acme, by=maya).number == 2


@pytest.mark.django_db(transaction=True)
def test_nobody_chooses_a_number(acme, maya):
    receipt = paid(acme, by=maya)
    purchase = granted(acme, by=maya)
    own = Receipt.objects.get(pk=receipt.pk)
    own.pk, own.purchase, own.number = None, purchase, 77
    own.save(force_insert=True)
    own.refresh_from_db()
    assert own.number == 2
