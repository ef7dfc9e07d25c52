"""Record 0062 names every index of the ledger's tables, and each serves its query."""

import re
from pathlib import Path

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db

RECORD = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0062-indexes.md"
TABLES = [
    f"billing_{name}"
    for name in (
        *("creditaccount", "creditlot", "hold", "charge", "ledgerentry", "usageday", "unpricedusage", "reversal"),
        *("debitadjustment", "takeback", "creditevent"),
    )
]
OF_ONE = "where organization_id = 7"
QUERIES = {
    "billing_creditaccount_pkey": f"select * from billing_creditaccount {OF_ONE} for no key update",
    "account_low": "select * from billing_creditaccount where low_at is not null order by low_at",
    "billing_creditlot_pkey": "update billing_creditlot set remaining_nano = 0 where id = 7",
    "lot_burn_order": f"select * from billing_creditlot {OF_ONE} and is_open"
    " order by expires_at, burn_rank, effective_at, id limit 1",
    "lot_due": "select id from billing_creditlot where is_open and expires_at <= now()"
    " order by expires_at, organization_id",
    "lot_newest": f"select * from billing_creditlot {OF_ONE} and id < 99 order by id desc limit 20",
    "lot_one_per_purchase": f"select * from billing_creditlot {OF_ONE} and purchase_id = 7",
    "lot_one_per_grant_key": f"select * from billing_creditlot {OF_ONE}"
    " and grant_key = '00000000-0000-4000-8000-000000000000'",
    "billing_hold_pkey": "update billing_hold set state = 'voided' where id = 7",
    "hold_key_once": f"select * from billing_hold {OF_ONE} and idempotency_key = 'k'",
    "hold_open": f"select * from billing_hold {OF_ONE} and state = 'open' and expires_at <= now()"
    " order by expires_at, id",
    "hold_captured_late": f"select * from billing_hold {OF_ONE} and state = 'captured' and settled_at > expires_at"
    " and settled_at > now()",
    "billing_charge_pkey": "select * from billing_charge where id = 7",
    "charge_key_once": f"select * from billing_charge {OF_ONE} and idempotency_key = 'k'",
    "charge_once_per_hold": f"select * from billing_charge {OF_ONE} and hold_id = 7",
    "billing_ledgerentry_pkey": "select * from billing_ledgerentry where id = 7",
    "entry_seq_once": f"select * from billing_ledgerentry {OF_ONE} and seq < 99 order by seq desc limit 50",
    "entry_of_lot": f"select * from billing_ledgerentry {OF_ONE} and lot_id = 7"
    " and kind in ('expiry', 'return_expired')",
    "entry_one_expiry_per_lot": f"select * from billing_ledgerentry {OF_ONE} and lot_id = 7 and kind = 'expiry'",
    "entry_not_usage": f"select * from billing_ledgerentry {OF_ONE} and kind <> 'burn' and seq > 7 order by seq desc",
    "entry_reverses": f"select * from billing_ledgerentry {OF_ONE} and reverses_seq = 7",
    "entry_booked_late": f"select * from billing_ledgerentry {OF_ONE} and booked_at > now() and value_at <= now()"
    " and value_at < booked_at and kind <> 'burn'",
    "billing_usageday_pkey": "select * from billing_usageday where id = 7",
    "usage_day_once": f"select * from billing_usageday {OF_ONE} and day between '2027-01-01' and '2027-01-31'",
    "usage_day_of_key": f"select sum(amount_nano) from billing_usageday {OF_ONE} and key_ref = 'ck_live_AbCdEf01'"
    " and day >= '2027-01-01'",
    "billing_unpricedusage_pkey": "select * from billing_unpricedusage where id = 7",
    "unpriced_usage_once": f"select * from billing_unpricedusage {OF_ONE} and operation = 'usage'"
    " and idempotency_key = 'k'",
    "unpriced_usage_newest": "select * from billing_unpricedusage order by last_at desc, id desc limit 50",
    "unpriced_usage_of_one": f"select * from billing_unpricedusage {OF_ONE} order by id desc limit 50",
    "billing_reversal_pkey": "select * from billing_reversal where id = 7",
    "reversal_key_once": f"select * from billing_reversal {OF_ONE}"
    " and reversal_key = '00000000-0000-4000-8000-000000000000'",
    "reversal_of_cause": f"select * from billing_reversal {OF_ONE} and cause_kind = 'charge'"
    " and cause_id > 7 order by cause_id",
    "billing_debitadjustment_pkey": "select * from billing_debitadjustment where id = 7",
    "adjustment_key_once": f"select * from billing_debitadjustment {OF_ONE}"
    " and adjustment_key = '00000000-0000-4000-8000-000000000000'",
    "adjustment_newest": f"select * from billing_debitadjustment {OF_ONE} order by id desc limit 20",
    "billing_debitadjustment_unpriced_usage_id_a1577535": "select * from billing_debitadjustment"
    " where unpriced_usage_id = 7",
    "billing_takeback_pkey": "select * from billing_takeback where id = 7",
    "take_back_key_once": f"select * from billing_takeback {OF_ONE}"
    " and take_back_key = '00000000-0000-4000-8000-000000000000'",
    "billing_takeback_lot_id_ac7bb5cb": "select * from billing_takeback where lot_id = 7",
    "billing_creditevent_pkey": "update billing_creditevent set handled_at = now() where id = 7",
    "credit_event_waiting": "select * from billing_creditevent where handled_at is null and id > 7"
    " order by id limit 20",
    "credit_event_of_one": f"select * from billing_creditevent {OF_ONE} order by id desc limit 20",
}


def test_the_record_names_every_index_and_no_other():
    with connection.cursor() as cursor:
        cursor.execute(
            "select indexname from pg_indexes where schemaname = 'public' and tablename = any (%s)", [TABLES]
        )
        found = {name for (name,) in cursor.fetchall()}
    recorded = re.findall(r"^\| `(\w+)` \|", RECORD.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(recorded) == sorted(found)
    assert found == QUERIES.keys()


@pytest.mark.parametrize("index", sorted(QUERIES))
def test_the_index_serves_what_it_is_there_for(index, superuser_connection):
    """Which of several the planner would take depends on rows; here it has this one, or none."""
    with superuser_connection.transaction(force_rollback=True):
        superuser_connection.execute(
            "update pg_index i set indisvalid = false from pg_index own"
            " where own.indexrelid = %s::regclass and i.indrelid = own.indrelid and i.indexrelid <> own.indexrelid",
            [index],
        )
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            superuser_connection.execute(f"set local {setting} = off")
        plan = "\n".join(line for (line,) in superuser_connection.execute(f"explain (costs off) {QUERIES[index]}"))
    assert re.search(rf"using {index}\b", plan), plan
