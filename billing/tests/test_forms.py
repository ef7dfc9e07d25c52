"""What people type, and what comes out of the forms: integer cents or an error in words, never a crash."""

import random
import uuid
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings

from billing.errors import Refused
from billing.forms import (
    AutoReloadForm,
    BuyForm,
    CardForm,
    add_refusal,
    id_from_text,
    instant_from_text,
    month_from_text,
)
from billing.terms import CREDIT_TERMS

HOSTILE = [
    "\x00",
    "25\x00",
    "-1",
    "−5",
    "1e3",
    "1_000",
    "٢٥",
    "２５",
    "25,5",
    "2,5.00",
    "0x19",
    "NaN",
    "Infinity",
    "25.001",
    "25.",
    ".5",
    "$",
    "$$5",
    "5$",
    "25 00",
    "9" * 400,
    "1,00",
    "<b>25</b>",
    "25;DROP TABLE",
    "‮52",
    "💰",
    "\ud800",
    "= 25",
    "++25",
    "25\n25",
]


def buy_form(**changes):
    data = {
        "attempt_key": str(uuid.uuid4()),
        "terms_version": CREDIT_TERMS.version,
        "amount": "25",
        "other_amount": "",
        "terms": "on",
    } | changes
    return BuyForm(data, terms=CREDIT_TERMS)


def reload_form(**changes):
    data = {"is_enabled": "on", "minimum": "5", "target": "20", "monthly_cap": "100", "consent_for": ""} | changes
    initial = {"is_enabled": False, "minimum": 1_000, "target": 5_000, "monthly_cap": 20_000}
    return AutoReloadForm({name: value for name, value in data.items() if value is not None}, initial=initial)


@pytest.mark.parametrize(
    ("typed", "cents"),
    [
        ("25", 2_500),
        ("25.5", 2_550),
        ("$25.50", 2_550),
        (" 25.50 ", 2_550),
        ("1,234.56", 123_456),
        ("10,000", 1_000_000),
    ],
)
def test_amounts_are_read_as_people_write_them(typed, cents):
    form = buy_form(other_amount=typed)
    assert form.is_valid(), form.errors
    assert form.cleaned_data["amount_cents"] == cents


@pytest.mark.parametrize("typed", HOSTILE)
def test_what_is_no_amount_is_refused_at_the_field_in_words(typed):
    form = buy_form(other_amount=typed)
    assert not form.is_valid()
    assert form.errors["other_amount"] == ["Write an amount in dollars, like 25 or 25.50."]


def test_random_texts_never_crash_the_form():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    alphabet = "0123456789.,$-+eE_ \x00\t\n٢２𝟐½x"
    for _ in range(2_000):
        text = "".join(source.choice(alphabet) for _ in range(source.randrange(12)))
        form = buy_form(other_amount=text)
        if form.is_valid():
            cents = form.cleaned_data["amount_cents"]
            assert type(cents) is int
            assert settings.PURCHASE_MINIMUM_CENTS <= cents <= settings.PURCHASE_MAXIMUM_CENTS


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("0", "The smallest purchase is $5.00."),
        ("4.99", "The smallest purchase is $5.00."),
        ("10000.01", "The largest purchase at once is $10,000.00."),
        ("999999999", "The largest purchase at once is $10,000.00."),
    ],
)
def test_limits_are_named_at_the_field(typed, error):
    form = buy_form(other_amount=typed)
    assert not form.is_valid()
    assert form.errors["other_amount"] == [error]


def test_the_limits_themselves_can_be_bought():
    assert buy_form(other_amount="5").is_valid()
    assert buy_form(other_amount="10000").is_valid()


def test_a_typed_amount_counts_instead_of_the_suggested_one():
    form = buy_form(amount="250", other_amount="7")
    assert form.is_valid()
    assert form.cleaned_data["amount_cents"] == 700


def test_a_suggested_amount_outside_the_list_is_refused():
    form = buy_form(amount="26")
    assert not form.is_valid()
    assert "amount" in form.errors


def test_no_amount_at_all_is_an_error_at_the_text_field():
    form = buy_form(amount="", other_amount=" ")
    assert not form.is_valid()
    assert "other_amount" in form.errors


@pytest.mark.parametrize("key", ["", "no-uuid", "\x00", "9" * 1_000])
def test_a_form_without_a_proper_key_is_refused(key):
    assert not buy_form(attempt_key=key).is_valid()


def test_the_terms_must_be_accepted_in_the_version_that_was_shown():
    assert "terms" in buy_form(terms="").errors
    for version in ("1999-01-01", "\x00", ""):
        assert buy_form(terms_version=version).non_field_errors()


def test_a_renewed_form_is_a_new_purchase_with_what_was_typed():
    form = buy_form(other_amount="31", terms_version="1999-01-01")
    former_key = form.data["attempt_key"]
    form.renew()
    assert form.data["attempt_key"] != former_key
    assert form.data["other_amount"] == "31"
    assert form.data["terms_version"] == CREDIT_TERMS.version
    assert "terms" not in form.data


def test_each_rendering_has_a_key_of_its_own():
    keys = {BuyForm.fresh(terms=CREDIT_TERMS).initial["attempt_key"] for _ in range(20)}
    assert len(keys) == 20


def test_reload_amounts_leave_the_form_as_cents():
    form = reload_form(minimum="5.50", target="20", monthly_cap="1,000")
    assert form.is_valid(), form.errors
    assert form.amounts_cents == (550, 2_000, 100_000)


@pytest.mark.parametrize("field", AutoReloadForm.AMOUNTS)
@pytest.mark.parametrize("typed", [*HOSTILE, "", None])
def test_switching_on_needs_amounts_in_every_field(field, typed):
    form = reload_form(**{field: typed})
    assert not form.is_valid()
    assert list(form.errors) == [field]


@pytest.mark.parametrize("typed", [*HOSTILE, "", None])
def test_switching_off_is_never_stopped_by_an_amount(typed):
    form = reload_form(is_enabled=None, minimum=typed, target=typed)
    assert form.is_valid(), form.errors
    assert form.amounts_cents == (1_000, 5_000, 10_000)


def test_consent_counts_only_for_the_amounts_in_the_sentence():
    form = reload_form(consent_for="500-2000-10000")
    assert form.is_valid()
    assert form.has_current_consent
    form = reload_form(consent_for="500-2000-10000", monthly_cap="200")
    assert form.is_valid()
    assert not form.has_current_consent


@pytest.mark.parametrize(
    "text", ["", "pi_123", "seti_", "seti_1/../..", "seti_1\x00", "seti_ünïcode", "seti_" + "a" * 300]
)
def test_only_setup_intents_are_taken_as_such(text):
    assert not CardForm({"setup_intent_id": text}).is_valid()


def test_a_setup_intent_is_taken():
    assert CardForm({"setup_intent_id": "seti_1AbC_2"}).is_valid()


def test_refusals_come_back_to_the_field_they_name():
    form = buy_form()
    form.is_valid()
    add_refusal(form, Refused("Too little.", field="amount_cents"))
    add_refusal(form, Refused("No card.", field="card"))
    add_refusal(form, Refused("Not now."))
    assert form.errors["other_amount"] == ["Too little."]
    assert form.non_field_errors() == ["No card.", "Not now."]


def test_a_month_is_read_strictly():
    assert month_from_text("2026-11") == datetime(2026, 11, 1, tzinfo=UTC)
    for text in [
        "2026-13",
        "2026-00",
        "2026-1",
        "26-11",
        "2026-11-01",
        "２０２６-11",
        "0000-01",
        "",
        "\x00",
        "2026-11\n",
    ]:
        assert month_from_text(text) is None, text


def test_a_row_id_is_read_strictly():
    assert id_from_text("12") == 12
    for text in ["-1", "1e3", "٢", "", "9" * 19, "\x00", " 1"]:
        assert id_from_text(text) is None, text


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-10T12:00", "Europe/Berlin", "2026-11-10T11:00:00+00:00"),
        ("2026-11-10 12:00:00", "UTC", "2026-11-10T12:00:00+00:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00+00:00"),
        ("0001-01-01T00:00", "Asia/Tokyo", None),
        ("2026-02-30T00:00", "UTC", None),
        ("2026-11-10", "UTC", None),
        ("2026-11-10T12:00Z", "UTC", None),
        ("٢٠٢٦-11-10T12:00", "UTC", None),
        ("", "UTC", None),
    ],
)
def test_a_minute_of_a_query_string_is_of_the_given_time_zone(text, zone, expected):
    at = instant_from_text(text, zone=ZoneInfo(zone))
    assert (at.isoformat() if at else None) == expected
