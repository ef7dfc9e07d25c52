"""Users: one address, one person, whatever the case."""

import psycopg
import pytest
from allauth.account.models import EmailAddress
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from accounts.tests import cast

pytestmark = pytest.mark.django_db


def test_an_address_in_another_case_is_the_same_address():
    cast.person("Maya@Acme.Example")
    with pytest.raises(IntegrityError):
        User.objects.create_user("mAYA@acme.example", cast.PASSWORD)


def test_the_database_refuses_the_second_case_even_in_plain_sql():
    user = cast.person("maya@acme.example")
    for sql in (
        "UPDATE accounts_user SET email = 'Maya@acme.example' WHERE id = %s",
        "INSERT INTO accounts_user (email, password, is_superuser, name, is_staff, is_active)"
        " SELECT 'MAYA@ACME.EXAMPLE', '', false, '', false, true WHERE %s > 0",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, [user.pk])


def test_an_address_is_found_in_any_case():
    user = cast.person("maya@acme.example")
    assert User.objects.get(email="MAYA@ACME.EXAMPLE") == user
    assert User.objects.get_by_natural_key("Maya@Acme.Example") == user


@pytest.mark.parametrize("is_verified", [True, False])
def test_creating_a_user_creates_the_address_that_sign_in_looks_at(is_verified):
    user = User.objects.create_user("New@Acme.Example", cast.PASSWORD, is_email_verified=is_verified)
    address = EmailAddress.objects.get(user=user)
    assert (address.email, address.primary, address.verified) == ("new@acme.example", True, is_verified)
    assert user.email == "new@acme.example"


def test_a_user_without_a_password_cannot_sign_in_with_one():
    user = User.objects.create_user("new@acme.example")
    assert not user.has_usable_password()


def test_a_user_needs_an_address():
    with pytest.raises(ValueError, match="address"):
        User.objects.create_user("")


def test_an_address_row_that_fails_takes_the_user_with_it():
    other = cast.person("other@acme.example")
    EmailAddress.objects.create(user=other, email="new@acme.example", verified=True, primary=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("new@acme.example", cast.PASSWORD, is_email_verified=True)
    assert not User.objects.filter(email="new@acme.example").exists()


def test_all_ids_are_bigint(owner_connection: psycopg.Connection[tuple[str]]):
    rows = owner_connection.execute(
        "SELECT table_name FROM information_schema.columns WHERE table_name LIKE 'accounts\\_%'"
        " AND column_name = 'id' AND data_type <> 'bigint'"
    ).fetchall()
    assert rows == []
