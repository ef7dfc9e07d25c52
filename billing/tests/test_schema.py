"""The shape of the database: money is whole numbers, and history is guarded where it is stored."""

import pytest
from django.apps import apps
from django.db import connection

pytestmark = pytest.mark.django_db


def columns(condition: str) -> list[tuple[str, str, str]]:
    """Table, column and type of billing's columns that meet a condition."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select table_name, column_name, coalesce(nullif(data_type, 'ARRAY'), udt_name)"
            " from information_schema.columns"
            f" where table_schema = 'public' and table_name like 'billing\\_%%' and ({condition}) order by 1, 2"
        )
        return [(table, column, type_) for table, column, type_ in cursor.fetchall()]


def test_case_076_every_column_of_money_is_a_bigint():
    money = columns("column_name ~ '(nano|cents|per_million)$'")
    assert len(money) >= 20
    assert {type_ for _, _, type_ in money} == {"bigint", "_int8"}
    assert [column for _, column, type_ in money if type_ == "_int8"] == ["lot_amounts_nano"]


def test_no_column_of_billing_can_hold_a_fraction():
    assert (
        columns("data_type in ('numeric', 'real', 'double precision', 'money') or udt_name in ('_numeric', '_float8')")
        == []
    )


def test_every_time_is_an_instant_and_not_a_date_without_a_zone():
    """One exception that says so: usage is added up by the UTC day of its start."""
    assert columns("data_type in ('timestamp without time zone', 'date', 'time without time zone')") == [
        ("billing_usageday", "day", "date")
    ]


def test_names_of_amounts_end_in_their_unit():
    """A column named as an amount without a unit would be a guess for its reader."""
    vague = columns("column_name ~ '(amount|balance|granted|remaining|price|debt|held)$'")
    assert vague == []


@pytest.mark.parametrize("table", ["billing_creditaccount", "billing_creditlot", "billing_hold", "billing_charge",
                                   "billing_ledgerentry", "billing_purchase", "billing_reversal",
                                   "billing_debitadjustment", "billing_takeback", "billing_usageday",
                                   "billing_unpricedusage", "billing_creditevent"])  # fmt: skip
def test_every_row_of_money_names_its_organization(table):
    assert columns(f"table_name = '{table}' and column_name = 'organization_id' and is_nullable = 'NO'")


@pytest.mark.parametrize("model", ["Hold", "Charge", "LedgerEntry", "CreditLot", "UsageDay"])
def test_unique_constraints_of_hot_tables_lead_with_the_organization(model):
    """Design, section 9: that is what lets the tables be sharded by organization."""
    for constraint in apps.get_model("billing", model)._meta.total_unique_constraints:
        assert constraint.fields[0] == "organization"
    with connection.cursor() as cursor:
        cursor.execute(
            "select i.indexrelid::regclass::text, a.attname from pg_index i"
            " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
            " where i.indrelid = %s::regclass and i.indisunique and not i.indisprimary",
            [apps.get_model("billing", model)._meta.db_table],
        )
        leading = dict(cursor.fetchall())
    assert leading
    assert set(leading.values()) == {"organization_id"}
