"""The billing pages. The gate's routes are in billing.api."""

from django.urls import path

from billing.views.api_key import (
    api_key,
    api_key_create,
    api_key_resume,
    api_key_revoke,
    api_key_rotate,
    api_key_stop,
)
from billing.views.api_keys import api_keys
from billing.views.auto_reload import auto_reload, auto_reload_back_test
from billing.views.auto_reload_consent import auto_reload_consent, auto_reload_history, auto_reload_usage
from billing.views.billing_details import billing_details
from billing.views.buy import buy
from billing.views.card import card
from billing.views.card_attempts import card_attempts, card_remove
from billing.views.contacts import contact_confirm, contact_remove, contact_send, contact_stop, contacts
from billing.views.credit_terms import credit_terms
from billing.views.data_export import data_export
from billing.views.overview import overview
from billing.views.problem import problem
from billing.views.purchase import purchase
from billing.views.receipts import (
    credit_note,
    credit_note_pdf,
    receipt,
    receipt_at_processor,
    receipt_pdf,
    receipts,
)
from billing.views.statement import statement, statement_csv
from billing.views.stripe_webhook import stripe_webhook
from billing.views.usage import usage
from billing.views.usage_stop import usage_resume, usage_stop

app_name = "billing"

urlpatterns = [
    path("o/<slug:slug>/settings/billing/", overview, name="overview"),
    path("o/<slug:slug>/settings/billing/buy/", buy, name="buy"),
    path("o/<slug:slug>/settings/billing/purchases/<int:purchase_id>/", purchase, name="purchase"),
    path("o/<slug:slug>/settings/billing/purchases/<int:purchase_id>/problem/", problem, name="problem"),
    path("o/<slug:slug>/settings/billing/card/", card, name="card"),
    path("o/<slug:slug>/settings/billing/card/attempts/", card_attempts, name="card_attempts"),
    path("o/<slug:slug>/settings/billing/card/remove/", card_remove, name="card_remove"),
    path("o/<slug:slug>/settings/billing/auto-reload/", auto_reload, name="auto_reload"),
    path("o/<slug:slug>/settings/billing/auto-reload/back-test/", auto_reload_back_test, name="auto_reload_back_test"),
    path("o/<slug:slug>/settings/billing/auto-reload/consent/", auto_reload_consent, name="auto_reload_consent"),
    path("o/<slug:slug>/settings/billing/auto-reload/usage/", auto_reload_usage, name="auto_reload_usage"),
    path("o/<slug:slug>/settings/billing/auto-reload/history/", auto_reload_history, name="auto_reload_history"),
    path("o/<slug:slug>/settings/billing/details/", billing_details, name="billing_details"),
    path("o/<slug:slug>/settings/billing/contacts/", contacts, name="contacts"),
    path("o/<slug:slug>/settings/billing/contacts/<int:contact_id>/send/", contact_send, name="contact_send"),
    path("o/<slug:slug>/settings/billing/contacts/<int:contact_id>/remove/", contact_remove, name="contact_remove"),
    path("billing-contacts/<slug:token>/", contact_confirm, name="contact_confirm"),
    path("billing-contacts/stop/<str:token>/", contact_stop, name="contact_stop"),
    path("o/<slug:slug>/settings/organization/export/", data_export, name="data_export"),
    path("o/<slug:slug>/settings/billing/receipts/", receipts, name="receipts"),
    path("o/<slug:slug>/settings/billing/receipts/<int:number>/", receipt, name="receipt"),
    path("o/<slug:slug>/settings/billing/receipts/<int:number>/pdf/", receipt_pdf, name="receipt_pdf"),
    path(
        "o/<slug:slug>/settings/billing/receipts/<int:number>/processor/",
        receipt_at_processor,
        name="receipt_at_processor",
    ),
    path("o/<slug:slug>/settings/billing/credit-notes/<int:number>/", credit_note, name="credit_note"),
    path("o/<slug:slug>/settings/billing/credit-notes/<int:number>/pdf/", credit_note_pdf, name="credit_note_pdf"),
    path("o/<slug:slug>/settings/billing/statement/", statement, name="statement"),
    path("o/<slug:slug>/settings/billing/statement.csv", statement_csv, name="statement_csv"),
    path("o/<slug:slug>/usage/", usage, name="usage"),
    path("o/<slug:slug>/keys/", api_keys, name="api_keys"),
    path("o/<slug:slug>/keys/new/", api_key_create, name="api_key_create"),
    path("o/<slug:slug>/keys/stop/", usage_stop, name="usage_stop"),
    path("o/<slug:slug>/keys/resume/", usage_resume, name="usage_resume"),
    path("o/<slug:slug>/keys/<int:key_id>/", api_key, name="api_key"),
    path("o/<slug:slug>/keys/<int:key_id>/rotate/", api_key_rotate, name="api_key_rotate"),
    path("o/<slug:slug>/keys/<int:key_id>/stop/", api_key_stop, name="api_key_stop"),
    path("o/<slug:slug>/keys/<int:key_id>/resume/", api_key_resume, name="api_key_resume"),
    path("o/<slug:slug>/keys/<int:key_id>/revoke/", api_key_revoke, name="api_key_revoke"),
    path("terms/credits/", credit_terms, name="credit_terms"),
    path("webhooks/stripe/", stripe_webhook, name="stripe_webhook"),
]
