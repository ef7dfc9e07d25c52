"""check_ledger --stripe: what Stripe holds and what the purchases say, compared both ways over HTTP."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import Purchase
from billing.payments import agreement
from billing.tests.buyer import DECLINES_WHEN_CHARGED, Buyer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bought(buyer: Buyer) -> Purchase:
    """A purchase that was paid, after one that was declined."""
    buyer.save_card(DECLINES_WHEN_CHARGED)
    assert buyer.buy().state == Purchase.State.FAILED
    buyer.save_card()
    purchase = buyer.buy()
    assert purchase.state == Purchase.State.SUCCEEDED
    return purchase


def findings() -> list[tuple[str, str]]:
    return [(finding.row, finding.detail) for finding in next(agreement.verdicts(rows_shown=10)).findings]


def test_paid_and_declined_purchases_agree_with_stripe(bought):
    out = StringIO()
    call_command("check_ledger", "--stripe", stdout=out)
    assert "ok       payments_agree_with_stripe\n" in out.getvalue()


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("state = 'canceled'", "canceled here, succeeded at Stripe"),
        ("amount_cents = 2400", "2400 cents here, 2500 of 2500 at Stripe"),
        ("id = id + 1000", "the payment is for purchase {}"),
    ],
)
def test_a_purchase_that_differs_from_its_payment_is_named(bought, superuser_connection, change, detail):
    superuser_connection.execute("set session_replication_role = replica")
    superuser_connection.execute(f"update billing_purchase set {change} where id = %s", [bought.pk])
    [(row, told)] = findings()
    assert told == detail.format(bought.pk)
    assert row == f"purchase {bought.pk + 1_000 if 'id =' in change else bought.pk}"
    with pytest.raises(CommandError, match="payments_agree_with_stripe"):
        call_command("check_ledger", "--stripe", stdout=StringIO())


def test_a_payment_without_a_purchase_and_a_purchase_without_its_payment_are_named(bought, superuser_connection):
    superuser_connection.execute(
        "update billing_purchase set payment_intent_id = 'pi_of_nobody' where id = %s", [bought.pk]
    )
    assert findings() == [
        (f"PaymentIntent {bought.payment_intent_id}", "2500 cents without a purchase"),
        (f"purchase {bought.pk}", "Stripe has no pi_of_nobody of this customer"),
    ]


def test_another_organization_is_left_alone(bought, superuser_connection):
    superuser_connection.execute("update billing_purchase set state = 'canceled' where id = %s", [bought.pk])
    other = next(agreement.verdicts(organization_id=bought.organization_id + 1, rows_shown=10))
    assert other.holds
    assert next(agreement.verdicts(organization_id=bought.organization_id, rows_shown=10)).count == 1
