"""What templates say about times, names and fields."""

from datetime import UTC, datetime

import pytest
from django import forms
from django.template import Context, Template

from accounts.models import Membership, Organization
from accounts.permissions import Role
from accounts.templatetags.initials import initials
from accounts.templatetags.times import local_date, local_time, local_time_inline

BERLIN = Organization(time_zone="Europe/Berlin")
KATHMANDU = Organization(time_zone="Asia/Kathmandu")
SAO_PAULO = Organization(time_zone="America/Sao_Paulo")
LONDON = Organization(time_zone="Europe/London")
IN_UTC = Organization(time_zone="UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("organization", "instant", "expected"),
    [
        (BERLIN, "2026-11-16T08:05:12", "16 Nov 2026, 09:05 CET (08:05 UTC)"),
        (BERLIN, "2026-08-17T08:05:12", "17 Aug 2026, 10:05 CEST (08:05 UTC)"),
        (BERLIN, "2026-11-15T23:30:00", "16 Nov 2026, 00:30 CET (15 Nov, 23:30 UTC)"),
        (KATHMANDU, "2026-11-16T08:05:12", "16 Nov 2026, 13:50 UTC+05:45 (08:05 UTC)"),
        (SAO_PAULO, "2026-11-16T01:05:12", "15 Nov 2026, 22:05 UTC-03:00 (16 Nov, 01:05 UTC)"),
        (LONDON, "2026-11-16T08:05:12", "16 Nov 2026, 08:05 GMT (08:05 UTC)"),
        (IN_UTC, "2026-11-16T08:05:12", "16 Nov 2026, 08:05 UTC"),
    ],
)
def test_a_time_is_local_with_utc_beside_it(organization, instant, expected):
    text = local_time_inline(at(instant), organization)
    assert expected in text
    assert f'datetime="{instant}Z"' in text


def test_a_time_in_a_table_and_to_the_second():
    assert local_time(at("2026-11-16T08:05:12"), BERLIN, seconds=True) == (
        '<time datetime="2026-11-16T08:05:12Z">16 Nov 2026</time> '
        '<small class="nowrap">09:05:12 CET · 08:05:12 UTC</small>'
    )


def test_a_date_is_that_of_the_organization():
    assert "16 Nov 2026" in local_date(at("2026-11-15T23:30:00"), BERLIN)


def test_no_time_is_no_text():
    assert local_time(None, BERLIN) == local_time_inline(None, BERLIN) == local_date(None, BERLIN) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Acme Robotics", "AR"), ("maya", "M"), ("Ada B. Lovelace", "AL"), ("maya@acme.example", "M"), ("", "·")],
)
def test_initials(name, expected):
    assert initials(name) == expected


def test_what_a_member_may_do_can_be_asked_in_a_template():
    template = Template('{% load permissions %}{% may "credits.buy" as may_buy %}{{ may_buy }}')
    assert template.render(Context({"membership": Membership(role=Role.BILLING)})) == "True"
    assert template.render(Context({"membership": Membership(role=Role.USER)})) == "False"
    assert template.render(Context({})) == "False"
    with pytest.raises(ValueError, match="credits"):
        Template('{% load permissions %}{% may "credits.byu" as x %}').render(Context({}))


class Form(forms.Form):
    amount = forms.IntegerField(help_text="In dollars.")
    zone = forms.ChoiceField(choices=[("a", "Berlin")])
    terms = forms.BooleanField(label="I accept")
    kind = forms.ChoiceField(widget=forms.RadioSelect, choices=[("a", "$50")])


def field(name: str, **data: str) -> str:
    template = Template('{% include "components/field.html" with field=field %}')
    return template.render(Context({"field": Form(data)[name] if data else Form()[name]}))


def test_help_and_error_are_tied_to_their_input():
    html = field("amount", amount="many")
    assert 'aria-describedby="id_amount_helptext id_amount_error"' in html
    assert 'id="id_amount_helptext"' in html
    assert 'id="id_amount_error"' in html
    assert 'aria-invalid="true"' in html
    assert '<label for="id_amount">Amount</label>' in html


@pytest.mark.parametrize(
    ("name", "marker"),
    [("zone", 'class="select"'), ("terms", 'class="check"'), ("kind", "<legend>Kind</legend>")],
)
def test_each_kind_of_field_has_its_markup(name, marker):
    assert marker in field(name)
