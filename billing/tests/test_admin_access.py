"""Who may look at billing in the administration, and that nobody changes history there."""

import itertools
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.permissions import Role
from accounts.tests import cast
from billing.credits import ledger, metering
from billing.models import (
    AutoReloadConsent,
    BillingAccount,
    CardSetup,
    Charge,
    CreditEvent,
    CreditLot,
    CreditNote,
    DebitAdjustment,
    Dispute,
    EarlyFraudWarning,
    Hold,
    LedgerEntry,
    PricedModel,
    PriceVersion,
    ProblemReport,
    Purchase,
    Receipt,
    Refund,
    RefusedAttempt,
    Reversal,
    StripeEvent,
    TakeBack,
    UnpricedUsage,
    UsageDay,
)
from billing.payments import problem_reports
from billing.tests import staff
from billing.tests.buyer import MODEL, Buyer

pytestmark = pytest.mark.django_db

HISTORY = (
    CreditLot, Hold, Charge, LedgerEntry, Purchase, StripeEvent, CardSetup, AutoReloadConsent, PriceVersion, Reversal,
    DebitAdjustment, TakeBack, UnpricedUsage, CreditEvent, UsageDay, Refund, Dispute, EarlyFraudWarning, Receipt,
    CreditNote,
)  # fmt: skip
MODELS = (*HISTORY, BillingAccount, PricedModel, ProblemReport, RefusedAttempt)


def list_url(model) -> str:
    return reverse(f"admin:billing_{model._meta.model_name}_changelist")


def row_url(row, action: str = "change") -> str:
    return reverse(f"admin:billing_{row._meta.model_name}_{action}", args=[row.pk])


@pytest.fixture
def full(buyer: Buyer) -> Buyer:
    """An organization with a row of every kind."""
    buyer.save_card()
    buyer.buy(2_500)
    buyer.arm()
    buyer.spend(100)
    metering.authorize(
        organization_id=buyer.organization.pk,
        key=str(uuid4()),
        usage=metering.Usage(model=MODEL, quantities={"input": 10}),
    )
    mine = {"organization_id": buyer.organization.pk, "label": "Correction", "reason": "for a test", "actor_id": None}
    ledger.adjust(**mine, amount_nano=5, key=uuid4(), may_owe=False)
    ledger.take_back(**mine, lot_id=buyer.lots[0].pk, amount_nano=5, key=uuid4(), rest_as_debt=False)
    ledger.reverse(**mine, cause_kind=Reversal.Cause.CHARGE, cause_id=Charge.objects.get().pk, key=uuid4())
    metering.report_usage(
        organization_id=buyer.organization.pk,
        key="unpriced",
        usage=metering.Usage(model="unheard-of", quantities={"input": 1}),
    )
    assert buyer.spend(10**6).outcome == "insufficient"
    bought = buyer.purchases[0]
    buyer.refund(bought, 100)
    buyer.stripe.control.warn_of_fraud(bought.payment_intent_id or "")
    buyer.stripe.control.open_dispute(bought.payment_intent_id or "", amount=100)
    buyer.hear()
    RefusedAttempt.objects.create(
        organization=buyer.organization, kind="purchase", actor=buyer.billing, amount_cents=100, code="x", reason="x"
    )
    problem_reports.report(
        organization=buyer.organization,
        actor=buyer.billing,
        purchase_id=bought.pk,
        report_key=uuid4(),
        category="twice",
        text="This charge came twice.",
        at=buyer.now(),
    )
    StripeEvent.objects.all().delete()
    StripeEvent.objects.create(
        stripe_event_id="evt_1", type="payment_intent.succeeded", payload={"client_secret": "pi_1_secret_abc"}
    )
    return buyer


def correction_urls(full: Buyer) -> list[str]:
    """Every page that puts credit right, each with something to correct."""
    lot = full.lots[0]
    targets: dict[str, tuple[object, ...]] = {
        "correction_credit": (),
        "debit": (),
        "state": (),
        "reverse": ("charge", Charge.objects.get().pk),
        "take_back": (lot.pk,),
        "settle": (UnpricedUsage.objects.get().pk,),
    }
    return [
        reverse(f"admin:billing_billingaccount_{name}", args=[full.organization.pk, *target])
        for name, target in targets.items()
    ]


def test_every_model_of_billing_here_is_registered_once():
    assert set(MODELS) == {model for model in admin.site._registry if model._meta.app_label == "billing"}


def test_the_way_in_is_the_sign_in_page_of_everybody(full):
    for url in (list_url(Purchase), reverse("admin:billing_billingaccount_change", args=[full.organization.pk])):
        response = Client().get(url)
        assert response.status_code == 302
        assert response["Location"].startswith((reverse("admin:login"), reverse("account_login")))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.BILLING, Role.DEVELOPER])
def test_customers_are_not_let_in_whatever_their_role(full, role):
    client = staff.at_the_browser(cast.member(full.organization, role=role).user)
    urls = [list_url(model) for model in MODELS]
    urls += [
        reverse("admin:billing_billingaccount_change", args=[full.organization.pk]),
        reverse("admin:billing_billingaccount_promotional_credit", args=[full.organization.pk]),
        reverse("admin:billing_purchase_attention"),
        *correction_urls(full),
    ]
    for url, method in itertools.product(urls, ("get", "post")):
        response = getattr(client, method)(url)
        assert response.status_code in (302, 403), url
        assert full.organization.name not in response.content.decode()
    assert CreditLot.objects.filter(kind="promotional").count() == 0


def test_staff_without_rights_see_nothing(full):
    client = staff.at_the_browser(staff.somebody())
    event = StripeEvent.objects.get()
    for model in MODELS:
        assert client.get(list_url(model)).status_code == 403
        row = model.objects.first()
        assert client.get(row_url(row)).status_code == 403
    assert client.get(reverse("admin:billing_purchase_attention")).status_code == 403
    for name, pk in (
        ("billingaccount_promotional_credit", full.organization.pk),
        ("purchase_read_again", full.purchases[0].pk),
        ("stripeevent_work_again", event.pk),
        ("pricedmodel_publish", PricedModel.objects.get().pk),
    ):
        assert client.post(reverse(f"admin:billing_{name}", args=[pk])).status_code == 403, name
    for url in correction_urls(full):
        assert client.get(url).status_code == client.post(url).status_code == 403, url


def test_looking_at_accounts_is_no_right_to_correct_them(full):
    client = staff.at_the_browser(staff.somebody("view_billingaccount", "give_promotional_credit"))
    for url in correction_urls(full):
        assert client.get(url).status_code == client.post(url, {"step": "make"}).status_code == 403, url
    page = client.get(reverse("admin:billing_billingaccount_change", args=[full.organization.pk])).content.decode()
    for word in ("Reverse", "Take back", "Take credit", "Charge it", "Freeze"):
        assert word not in page


def test_a_right_to_view_shows_its_own_pages_only(full):
    client = staff.at_the_browser(staff.somebody("view_purchase"))
    assert client.get(list_url(Purchase)).status_code == 200
    assert client.get(row_url(full.purchases[0])).status_code == 200
    assert client.get(list_url(CreditLot)).status_code == 403
    assert client.get(reverse("admin:billing_billingaccount_change", args=[full.organization.pk])).status_code == 403


@pytest.mark.parametrize("model", HISTORY)
def test_history_is_read_only_for_superusers_too(full, model):
    client = staff.at_the_browser(staff.superuser())
    row = model.objects.order_by("pk").first()
    before = list(model.objects.order_by("pk").values())
    page = client.get(row_url(row))
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    every_field = {field.name: "1" for field in model._meta.fields}
    for url in (row_url(row), row_url(row, "delete"), reverse(f"admin:billing_{model._meta.model_name}_add")):
        assert client.post(url, {**every_field, "post": "yes", "_save": "Save"}).status_code == 403
    client.post(list_url(model), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert list(model.objects.order_by("pk").values()) == before


def test_a_billing_account_is_looked_at_and_never_edited(full):
    client = staff.at_the_browser(staff.superuser())
    account = BillingAccount.objects.get(pk=full.organization.pk)
    assert client.post(row_url(account), {"name": "Mallory"}).status_code == 405
    assert client.post(row_url(account, "delete"), {"post": "yes"}).status_code == 403
    assert client.post(reverse("admin:billing_billingaccount_add"), {"name": "Mallory", "slug": "m"}).status_code == 403
    full.organization.refresh_from_db()
    assert full.organization.name != "Mallory"


def test_rights_to_change_and_delete_do_not_help_either(full):
    client = staff.at_the_browser(staff.somebody("change_creditlot", "delete_creditlot", "add_creditlot"))
    lot = CreditLot.objects.latest("pk")
    assert client.get(row_url(lot)).status_code == 200
    assert client.post(row_url(lot), {"label": "x"}).status_code == 403
    assert client.post(row_url(lot, "delete"), {"post": "yes"}).status_code == 403
    assert client.post(reverse("admin:billing_creditlot_add"), {"label": "x"}).status_code == 403


def test_secrets_in_stripes_payloads_are_not_shown(full):
    client = staff.at_the_browser(staff.superuser())
    for url in (list_url(StripeEvent), row_url(StripeEvent.objects.get())):
        assert "_secret_" not in client.get(url).content.decode()


@pytest.mark.parametrize("name", ["purchase_read_again", "stripeevent_work_again"])
def test_what_acts_takes_no_get_and_no_forged_post(full, name):
    user = staff.superuser()
    url = reverse(f"admin:billing_{name}", args=[full.purchases[0].pk])
    assert staff.at_the_browser(user).get(url).status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(user)
    assert careful.post(url).status_code == 403


def test_forms_that_give_or_publish_refuse_forged_posts(full):
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(staff.superuser())
    for url in (
        reverse("admin:billing_billingaccount_promotional_credit", args=[full.organization.pk]),
        reverse("admin:billing_pricedmodel_publish", args=[PricedModel.objects.get().pk]),
        *correction_urls(full),
    ):
        assert careful.post(url, {"step": "give"}).status_code == 403


@pytest.mark.parametrize("number", ["0", "999999999", "9" * 30])
def test_what_does_not_exist_is_not_found(full, number):
    client = staff.at_the_browser(staff.superuser())
    for path, method in (
        (f"billingaccount/{number}/change/", "get"),
        (f"billingaccount/{number}/promotional-credit/", "get"),
        (f"billingaccount/{number}/correction-credit/", "get"),
        (f"billingaccount/{number}/state/", "get"),
        (f"billingaccount/{full.organization.pk}/reverse/charge/{number}/", "get"),
        (f"billingaccount/{full.organization.pk}/reverse/hold/1/", "get"),
        (f"billingaccount/{full.organization.pk}/take-back/{number}/", "get"),
        (f"billingaccount/{full.organization.pk}/settle/{number}/", "get"),
        (f"purchase/{number}/read-again/", "post"),
        (f"stripeevent/{number}/work-again/", "post"),
        (f"pricedmodel/{number}/publish/", "get"),
    ):
        assert getattr(client, method)(f"/admin/billing/{path}").status_code == 404, path


@pytest.mark.parametrize("text", ["x", "1%00", "%00", "-1", "1.5", "_3A"])
def test_a_malformed_number_is_not_found_and_no_error(full, text):
    client = staff.at_the_browser(staff.superuser())
    for model in MODELS:
        path = f"/admin/billing/{model._meta.model_name}/{text}/change/"
        assert client.get(path).status_code in (302, 404), path


def test_an_id_in_the_digits_of_another_script_is_not_found(full):
    client = staff.at_the_browser(staff.superuser())
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    for model in MODELS:
        row = model.objects.first()
        path = f"/admin/billing/{model._meta.model_name}/{str(row.pk).translate(arabic)}/change/"
        assert client.get(path).status_code in (302, 404), path


def test_no_page_needs_inline_style_or_script(full):
    client = staff.at_the_browser(staff.superuser())
    urls = [list_url(model) for model in MODELS]
    urls += [row_url(model.objects.first()) for model in MODELS]
    urls += [
        reverse("admin:billing_billingaccount_promotional_credit", args=[full.organization.pk]),
        reverse("admin:billing_pricedmodel_publish", args=[PricedModel.objects.get().pk]),
        reverse("admin:billing_purchase_attention"),
        *correction_urls(full),
    ]
    for url in urls:
        response = client.get(url)
        assert response.status_code == 200, url
        assert "'unsafe-inline'" not in response["Content-Security-Policy"]
        page = response.content.decode()
        assert " style=" not in page, url
        assert "<style" not in page, url
        assert " onclick=" not in page, url
        assert "<script>" not in page, url
