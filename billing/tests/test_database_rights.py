"""What the runtime role can't do to money, tried statement by statement, and what nobody can do to history.

Every attempt runs as `console_app` on a connection of its own, against tables with rows in them.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from billing.credits import ledger, metering
from billing.models import Reversal
from billing.tests.customer import MODEL, Customer, units

pytestmark = pytest.mark.django_db(transaction=True)

Connection = psycopg.Connection[tuple[Any, ...]]

MONEY_TABLES = (
    "billing_creditaccount",
    "billing_creditlot",
    "billing_hold",
    "billing_charge",
    "billing_ledgerentry",
    "billing_usageday",
    "billing_unpricedusage",
    "billing_reversal",
    "billing_debitadjustment",
    "billing_takeback",
)
HISTORY_TABLES = (
    "billing_ledgerentry",
    "billing_charge",
    "billing_reversal",
    "billing_debitadjustment",
    "billing_takeback",
    "billing_price",
    "billing_priceversion",
    "accounts_auditevent",
)


# What rows without foreign keys name, so that it must not go away.
PARENT_TABLES = (
    "billing_creditaccount",
    "billing_creditlot",
    "billing_hold",
    "billing_pricedmodel",
    "billing_priceversion",
    "billing_unpricedusage",
)


def move_money(customer: Customer) -> None:
    """Leave a row in every table of money."""
    lot = customer.give(1_000).lot_id
    hold_id = customer.hold(50, key="h")
    customer.capture(hold_id, 40)
    charge_id = customer.charge(7, key="c").charge_id
    assert charge_id is not None
    metering.report_usage(organization_id=customer.id, key="u", usage=units(1, audio=1))
    why: dict[str, Any] = {"organization_id": customer.id, "reason": "for a test", "actor_id": None}
    ledger.adjust(amount_nano=5, key=uuid4(), label="Correction", may_owe=False, **why)
    ledger.take_back(lot_id=lot, amount_nano=5, key=uuid4(), rest_as_debt=False, **why)
    ledger.reverse(cause_kind=Reversal.Cause.CHARGE, cause_id=charge_id, key=uuid4(), **why)
    assert customer.charge(10_000, key="too much").outcome == "insufficient"


@pytest.fixture
def runtime(customer: Customer, role_address) -> Iterator[Connection]:
    """The runtime role, after some money has moved."""
    move_money(customer)
    before = customer.footprint()
    with psycopg.connect(role_address("console_app"), autocommit=True) as connection:
        yield connection
    assert customer.footprint() == before


def refused(connection: Connection, statement: str) -> None:
    """Expect the database to refuse for lack of a right, and for no other reason."""
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return
    except psycopg.Error as error:
        pytest.fail(f"{statement}: stopped by something else than rights: {error}")
    pytest.fail(f"{statement}: was allowed")


def test_the_runtime_role_writes_no_table_of_money(runtime):
    for table in MONEY_TABLES:
        refused(runtime, f"update {table} set organization_id = organization_id")
        refused(runtime, f"delete from {table}")
        refused(runtime, f"insert into {table} (organization_id) select organization_id from {table}")
        refused(runtime, f"insert into {table} default values")
        refused(runtime, f"truncate {table}")
        refused(runtime, f"truncate {table} cascade")
        refused(runtime, f"copy {table} from stdin")
        refused(runtime, f"merge into {table} t using {table} s on false when not matched then insert default values")
        refused(runtime, f"select * from {table} for update")
        refused(runtime, f"select * from {table} for no key update")
        refused(runtime, f"do $$ begin lock table {table} in exclusive mode; end $$")


def test_of_an_event_the_runtime_role_may_say_only_that_it_was_handled(runtime):
    table = "billing_creditevent"
    assert runtime.execute(f"update {table} set handled_at = now()").rowcount >= 1
    for column in ("id = id", "organization_id = organization_id", "kind = 'reload_due'", "occurred_at = now()"):
        refused(runtime, f"update {table} set {column}")
        refused(runtime, f"update {table} set handled_at = now(), {column}")
    refused(runtime, f"delete from {table}")
    refused(runtime, f"truncate {table}")
    refused(
        runtime,
        f"insert into {table} (organization_id, kind, occurred_at) select organization_id, kind, now() from {table}",
    )
    refused(runtime, f"insert into {table} default values")
    refused(runtime, f"copy {table} from stdin")
    refused(runtime, f"merge into {table} t using {table} s on t.id = s.id when matched then delete")


def test_what_was_taken_back_for_a_refund_is_never_removed_and_only_learns_what_undid_it(runtime):
    for table in ("billing_refund", "billing_dispute", "billing_clawback", "billing_earlyfraudwarning"):
        refused(runtime, f"delete from {table}")
        refused(runtime, f"truncate {table} cascade")
    refused(runtime, "update billing_clawback set amount_cents = 1")
    refused(runtime, "update billing_clawback set take_back_id = null, undone_at = now()")
    runtime.execute("update billing_clawback set reversal_id = null, undone_at = now()")


def test_the_runtime_role_changes_no_table_of_money(runtime):
    for table in (*MONEY_TABLES, "billing_creditevent"):
        refused(runtime, f"alter table {table} disable trigger all")
        refused(runtime, f"alter table {table} disable trigger user")
        refused(runtime, f"alter table {table} add column note text")
        refused(runtime, f"alter table {table} owner to console_app")
        refused(runtime, f"alter table {table} set unlogged")
        refused(runtime, f"drop table {table} cascade")
        refused(runtime, f"create rule quiet as on insert to {table} do instead nothing")
        refused(runtime, f"create index on {table} (organization_id)")
        refused(runtime, f"create policy everything on {table}")
        refused(
            runtime,
            f"create trigger mine before insert on {table} for each row "
            "execute function suppress_redundant_updates_trigger()",
        )


def test_the_runtime_role_can_not_drop_guards_or_constraints(runtime, superuser_connection):
    guards = superuser_connection.execute(
        "select tgname, tgrelid::regclass::text from pg_trigger where not tgisinternal"
        " and tgrelid::regclass::text ~ '^(billing|accounts)_'"
    ).fetchall()
    assert len(guards) >= 29
    for name, table in guards:
        refused(runtime, f"drop trigger {name} on {table}")
        refused(runtime, f"alter table {table} disable trigger {name}")
        refused(runtime, f"alter trigger {name} on {table} rename to {name}_off")
    constraints = superuser_connection.execute(
        "select conname, conrelid::regclass::text from pg_constraint"
        " where conrelid::regclass::text = any(%s) and contype in ('c', 'u')",
        [list(MONEY_TABLES)],
    ).fetchall()
    assert len(constraints) >= 14
    for name, table in constraints:
        refused(runtime, f'alter table {table} drop constraint "{name}"')


RAISES_OF_RIGHTS = (
    "set session_replication_role = replica",
    "alter role console_app set session_replication_role = replica",
    "alter role console_app superuser",
    "alter role console_app bypassrls",
    "set role console_owner",
    "set session authorization console_owner",
    "grant console_owner to console_app",
    "create role helper superuser",
    "alter system set session_replication_role = replica",
    "alter database test_console owner to console_app",
    "reassign owned by console_owner to console_app",
    "copy billing_charge to program 'true'",
    "copy billing_charge to '/tmp/charges'",
    "select pg_read_file('/etc/hostname')",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'console_owner'",
)


def test_the_runtime_role_raises_no_right_of_its_own(runtime, owner_connection):
    # The owner is connected, so that there is somebody to disturb.
    for statement in RAISES_OF_RIGHTS:
        refused(runtime, statement)


REPLACEMENTS = (
    "create or replace function public.credits_clock() returns timestamptz language sql volatile"
    " as $$ select timestamptz '2020-01-01' $$",
    "alter function public.credits_clock() owner to console_app",
    "alter function public.credits_clock() rename to old_clock",
    "alter function public.credits_clock() set search_path = pg_temp",
    "drop function public.credits_clock() cascade",
    "create or replace function public.credits__refuse_change() returns trigger language plpgsql"
    " as $$ begin return new; end $$",
    "create function public.clock_timestamp() returns timestamptz language sql as $$ select now() $$",
    "create function public.mine() returns int language sql as $$ select 1 $$",
    "create table public.mine (id int)",
    "create view public.mine as select 1",
    "create operator public.- (leftarg = bigint, rightarg = bigint, function = int8pl)",
    "create type public.mine as (id int)",
    "create schema mine",
    "create temporary table billing_creditlot (id bigint)",
    "create temporary table mine (id int)",
    "create temporary view billing_creditlot as select 1",
    "create function pg_temp.sha256(bytea) returns bytea language sql as $$ select $1 $$",
    "create extension dblink",
    "create extension postgres_fdw",
    "create publication everything for all tables",
    "create event trigger mine on ddl_command_start execute function public.accounts_refuse_audit_change()",
)


def test_the_runtime_role_replaces_no_clock_and_shadows_no_name(runtime):
    for statement in REPLACEMENTS:
        refused(runtime, statement)


def test_the_runtime_role_calls_no_internal_function(runtime, superuser_connection):
    internal = superuser_connection.execute(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'public'::regnamespace and starts_with(p.proname, 'credits__')"
    ).fetchall()
    assert len(internal) >= 15
    for (signature,) in internal:
        row = superuser_connection.execute(
            "select has_function_privilege('console_app', %s::regprocedure, 'execute'),"
            " (select prosecdef from pg_proc where oid = %s::regprocedure)",
            [signature, signature],
        ).fetchone()
        assert row == (False, False), signature
    refused(runtime, "select public.credits__lock(1)")
    refused(runtime, "select public.credits__append(null, 'grant', 1, 1000, 'lot', 1, null, now(), now())")
    refused(runtime, "select public.credits__save(a) from public.billing_creditaccount a")


def test_functions_with_the_owners_rights_fix_their_search_path(superuser_connection, runtime):
    rows = superuser_connection.execute(
        "select p.oid::regprocedure::text, p.proconfig, p.proowner::regrole::text from pg_proc p"
        " where p.pronamespace = 'public'::regnamespace and p.prosecdef"
    ).fetchall()
    assert len(rows) >= 9
    for signature, settings, owner in rows:
        # pg_temp last: were it left out, it would be looked at first.
        paths = [setting for setting in settings if setting.startswith("search_path=")]
        assert paths == ["search_path=public, pg_temp"], signature
        assert owner == "console_owner", signature


def test_no_search_path_of_the_caller_leads_a_function_astray(customer, role_address):
    customer.give(1_000)
    with psycopg.connect(role_address("console_app"), autocommit=True) as runtime:
        runtime.execute("set search_path = pg_temp, pg_catalog")
        row = runtime.execute(
            "select outcome from public.credits_charge(%s, 'charge', 'path', %s, 'api', '', null, null, 7)",
            [customer.id, MODEL],
        ).fetchone()
    assert row == ("charged",)
    assert customer.summary().available_nano == 993


def test_the_runtime_role_owns_nothing_and_writes_no_money_by_any_grant(runtime, superuser_connection):
    owned = superuser_connection.execute(
        "select count(*) from pg_shdepend where refobjid = 'console_app'::regrole and deptype = 'o'"
    ).fetchone()
    assert owned == (0,)
    for table in MONEY_TABLES:
        for right in ("insert", "update", "delete", "truncate", "trigger", "references", "maintain"):
            row = superuser_connection.execute(
                "select has_table_privilege('console_app', %s, %s)"
                " or (%s in ('insert', 'update', 'references') and has_any_column_privilege('console_app', %s, %s))",
                [table, right, right, table, right if right in ("insert", "update", "references") else "select"],
            ).fetchone()
            assert row == (False,), (table, right)


@pytest.mark.parametrize("table", HISTORY_TABLES)
def test_the_owner_rewrites_no_history_either(customer, owner_connection, table):
    """Rights don't bind an owner; triggers do, and taking them away leaves a trace in the schema."""
    move_money(customer)
    if table == "accounts_auditevent":
        owner_connection.execute(
            "insert into accounts_auditevent (action, target, role, request_id) values ('test.done', '', '', '')"
        )
    refused(owner_connection, f"update {table} set id = id")
    refused(owner_connection, f"delete from {table}")
    refused(owner_connection, f"truncate {table} cascade")


@pytest.mark.parametrize("table", PARENT_TABLES)
def test_what_rows_without_foreign_keys_name_can_not_be_deleted(customer, owner_connection, table):
    """Charges, holds and entries have no foreign keys; what they point to stays instead, for the owner too."""
    move_money(customer)
    refused(owner_connection, f"delete from {table}")
    refused(owner_connection, f"truncate {table} cascade")


def test_an_organization_with_credit_can_not_be_deleted(customer, owner_connection):
    move_money(customer)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner_connection.execute("delete from accounts_organization")


def test_the_owner_changes_of_a_lot_only_its_remainder(customer, owner_connection):
    customer.give(1_000)
    for change in ("granted_nano = 2000", "expires_at = expires_at + interval '1 day'", "kind = 'adjustment'"):
        refused(owner_connection, f"update billing_creditlot set {change}")
    refused(owner_connection, "delete from billing_creditlot")
    # What names a column and changes nothing of it, as an ORM does, is no change.
    owner_connection.execute("update billing_creditlot set label = label, remaining_nano = 999")
    assert list(customer.remaining().values()) == [999]
