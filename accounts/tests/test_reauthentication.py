"""A change that matters needs a person who has just proved who they are."""

import time

import pytest
from allauth.account.internal.flows import login as flows
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import reauthentication
from accounts.tests import cast

RECORDS = flows.AUTHENTICATION_METHODS_SESSION_KEY
WHOSE = flows._AUTHENTICATION_METHODS_USER_SESSION_KEY


def request_of(user, *, records, method="post"):
    request = getattr(RequestFactory(), method)("/")
    request.user, request.session = user, {RECORDS: records, WHOSE: str(user.pk)}
    return request


@pytest.mark.django_db
def test_a_sign_in_of_just_now_is_recent():
    request = request_of(cast.person(), records=[{"method": "password", "at": time.time()}])
    reauthentication.require_recent(request)


@pytest.mark.django_db
@pytest.mark.parametrize("records", [[], [{"method": "password", "at": 0}], [{"method": "password", "at": 1e12}]])
def test_an_old_sign_in_none_and_one_from_the_future_are_not(records):
    with pytest.raises(ReauthenticationRequired):
        reauthentication.require_recent(request_of(cast.person(), records=records))


@pytest.mark.django_db
def test_the_newest_of_several_proofs_counts():
    old, new = {"method": "password", "at": 5}, {"method": "mfa", "at": time.time()}
    assert reauthentication.is_recent(request_of(cast.person(), records=[old, new]))


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_looking_needs_no_new_proof(method):
    reauthentication.require_recent(request_of(cast.person(), records=[], method=method))


@pytest.mark.django_db
def test_somebody_elses_proof_in_the_same_session_counts_for_nobody():
    request = request_of(cast.person(), records=[{"method": "password", "at": time.time()}])
    request.user = cast.person()
    assert not reauthentication.is_recent(request)


def test_nobody_is_recent():
    assert not reauthentication.is_recent(request_of(AnonymousUser(), records=[{"at": time.time()}]))


@pytest.mark.django_db
def test_a_real_sign_in_counts_at_once():
    person, client = cast.person(), Client()
    client.post(reverse("account_login"), {"login": person.email, "password": cast.PASSWORD})
    request = request_of(person, records=client.session[RECORDS])
    assert reauthentication.is_recent(request)
