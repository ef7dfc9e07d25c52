"""Corruptions of the ledger, one for each invariant, planted by somebody who may do everything.

They are planted by the superuser with triggers and foreign keys off and, where one stands in the way, without the
constraint or the trigger that fires always. Whoever changes an entry here also writes the chain of hashes anew, as
somebody who knows the code would: so it is the named check that finds it, and not only the chain.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from billing.credits import invariants
from billing.credits.invariants import INVARIANTS, Verdict

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Told:
    """The history, and the instant at which it is looked at."""

    at: datetime
    superuser: Connection

    def verdicts(self, *names: str) -> Iterator[Verdict]:
        """Examine inside the open transaction; some invariants, or all of them."""
        chosen = tuple(invariant for invariant in INVARIANTS if not names or invariant.name in names)
        return invariants.examine(self.superuser.cursor(), at=self.at, invariants=chosen, rows_shown=1_000)

    def one(self, sql: str, *parameters: Any) -> Any:
        """The one value that a statement returns."""
        row = self.superuser.execute(sql, parameters).fetchone()
        assert row is not None, f"the history has no such row: {sql}"
        return row[0]

    def do(self, sql: str, *parameters: Any) -> None:
        """Change something, and be sure that something was changed."""
        assert self.superuser.execute(sql, parameters).rowcount != 0, f"nothing to change: {sql}"


def rechain(ledger: Told, *, with_balances: bool = True, with_keys: bool = True) -> None:
    """Write hashes, and balances, anew over all entries: what somebody would do who knows how they are made.

    Without keys, as it was done before migration 0015.
    """
    ledger.superuser.execute(
        f"""
        do $$
        declare a record; e record; v_hash bytea; v_balance bigint;
        begin
          for a in select organization_id from billing_creditaccount loop
            v_hash := ''; v_balance := 0;
            for e in select * from billing_ledgerentry where organization_id = a.organization_id order by seq, id loop
              v_balance := {"v_balance + e.amount_nano" if with_balances else "e.balance_after_nano"};
              v_hash := sha256(v_hash || credits__entry_bytes(e.organization_id, e.seq, e.kind, e.lot_id,
                e.amount_nano, e.cause_kind, e.cause_id, e.reverses_seq, e.actor_id, e.value_at, e.booked_at, v_balance,
                case when e.kind = 'grant'
                  then (select credits__lot_terms(l) from billing_creditlot l where l.id = e.lot_id)
                when e.cause_kind = 'charge' and {with_keys} then
                  (select credits__charge_terms(c.idempotency_key) from billing_charge c where c.id = e.cause_id) end));
              update billing_ledgerentry set hash = v_hash, balance_after_nano = v_balance where id = e.id;
            end loop;
            update billing_creditaccount set last_hash = v_hash where organization_id = a.organization_id;
          end loop;
        end $$
        """
    )


Plant = Callable[[Told], str]
PLANTS: dict[str, Plant] = {}


def plants(plant: Plant) -> Plant:
    """A corruption for the invariant that its function is named after; it returns the row that must be named."""
    PLANTS[plant.__name__] = plant
    return plant


def an_entry(ledger: Told, condition: str = "true") -> int:
    """The id of an entry in the middle of a long chain."""
    found = ledger.one(
        "select e.id from billing_ledgerentry e join accounts_organization o on o.id = e.organization_id"
        " left join billing_creditlot l on l.id = e.lot_id"
        f" where e.seq > 5 and o.slug in ('busy', 'owing') and ({condition}) order by e.id limit 1"
    )
    assert isinstance(found, int)
    return found


def an_account(ledger: Told, slug: str) -> int:
    found = ledger.one("select id from accounts_organization where slug = %s", slug)
    assert isinstance(found, int)
    return found


@plants
def entries_have_no_gap(ledger: Told) -> str:
    entry = an_entry(ledger)
    following = ledger.one(
        "select n.id from billing_ledgerentry e join billing_ledgerentry n"
        " on n.organization_id = e.organization_id and n.seq = e.seq + 1 where e.id = %s",
        entry,
    )
    ledger.do("delete from billing_ledgerentry where id = %s", entry)
    rechain(ledger)
    return f"entry {following}"


@plants
def entries_are_chained(ledger: Told) -> str:
    entry = an_entry(ledger)
    ledger.do("update billing_ledgerentry set hash = sha256(hash) where id = %s", entry)
    return f"entry {entry}"


@plants
def entries_add_up(ledger: Told) -> str:
    entry = an_entry(ledger)
    ledger.do("update billing_ledgerentry set balance_after_nano = balance_after_nano + 1 where id = %s", entry)
    rechain(ledger, with_balances=False)
    return f"entry {entry}"


@plants
def entries_are_in_time(ledger: Told) -> str:
    entry = an_entry(ledger)
    ledger.do(
        "update billing_ledgerentry e"
        " set booked_at = p.booked_at - interval '1 second', value_at = p.booked_at - interval '1 second'"
        " from billing_ledgerentry p where p.organization_id = e.organization_id and p.seq = e.seq - 1 and e.id = %s",
        entry,
    )
    rechain(ledger)
    return f"entry {entry}"


@plants
def entries_fit_their_kind(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'burn'")
    ledger.do("alter table billing_ledgerentry disable trigger ledgerentry_sound")
    ledger.do("update billing_ledgerentry set kind = 'grant' where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def entries_have_their_cause(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'return_expired'")
    ledger.do("update billing_ledgerentry set cause_kind = 'charge' where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def entries_are_undone_once(ledger: Told) -> str:
    """A reversal undoes somebody else's charge of the same lot."""
    entry, other = ledger.superuser.execute(
        "select u.id, o.seq from billing_ledgerentry u join billing_ledgerentry e"
        " on e.organization_id = u.organization_id and e.seq = u.reverses_seq and e.kind = 'burn'"
        " join billing_ledgerentry o on o.organization_id = e.organization_id and o.lot_id = e.lot_id"
        " and o.kind = 'burn' and o.cause_id <> e.cause_id and o.seq < u.seq and o.amount_nano <= -u.amount_nano"
        " where u.kind = 'reversal' order by u.id limit 1"
    ).fetchone() or ("no entry", "to undo instead")
    ledger.do("update billing_ledgerentry set reverses_seq = %s where id = %s", other, entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def entries_are_undone_in_reverse(ledger: Told) -> str:
    """Two parts of one reversal change places: the first entry of a charge is undone before its second."""
    first, second = ledger.superuser.execute(
        "select u.id, n.id from billing_ledgerentry u join billing_ledgerentry n"
        " on n.organization_id = u.organization_id and n.seq = u.seq + 1 and n.cause_id = u.cause_id"
        " and n.kind = 'reversal' and n.reverses_seq < u.reverses_seq"
        " join billing_ledgerentry e on e.organization_id = u.organization_id and e.seq = u.reverses_seq"
        " where u.kind = 'reversal' and e.kind <> 'debt_payment' order by u.id limit 1"
    ).fetchone() or ("no reversal", "of two entries")
    ledger.do(
        "update billing_ledgerentry u set lot_id = n.lot_id, amount_nano = n.amount_nano, reverses_seq = n.reverses_seq"
        " from billing_ledgerentry n where u.id in (%s, %s) and n.id in (%s, %s) and n.id <> u.id",
        first, second, first, second,
    )  # fmt: skip
    rechain(ledger)
    return f"entry {first}"


@plants
def accounts_exist(ledger: Told) -> str:
    quiet = an_account(ledger, "quiet")
    ledger.do("delete from billing_creditaccount where organization_id = %s", quiet)
    return f"lot {ledger.one('select id from billing_creditlot where organization_id = %s', quiet)}"


@plants
def account_sums_agree(ledger: Told) -> str:
    ledger.do(
        "update billing_creditaccount set held_nano = held_nano + 1, unreserved_nano = unreserved_nano - 1"
        " where organization_id = %s",
        an_account(ledger, "busy"),
    )
    return "account"


@plants
def account_balance_is_the_books(ledger: Told) -> str:
    """Credit out of nothing, with every sum of lots brought in line."""
    lot = ledger.one("select id from billing_creditlot where remaining_nano between 1 and granted_nano - 1 limit 1")
    ledger.do("update billing_creditlot set remaining_nano = remaining_nano + 1 where id = %s", lot)
    ledger.do(
        "update billing_creditaccount set unreserved_nano = unreserved_nano + 1 where organization_id ="
        " (select organization_id from billing_creditlot where id = %s)",
        lot,
    )
    return "account"


@plants
def exhausted_accounts_are_marked(ledger: Told) -> str:
    ledger.do(
        "update billing_creditaccount set exhausted_at = null where organization_id = %s", an_account(ledger, "owing")
    )
    return "account"


@plants
def credit_events_are_told(ledger: Told) -> str:
    ledger.do("delete from billing_creditevent where kind = 'exhausted'")
    return "account"


@plants
def debt_is_never_beside_credit(ledger: Told) -> str:
    ledger.do(
        "update billing_creditlot set remaining_nano = 1 where id = (select max(id) from billing_creditlot"
        " where organization_id = %s and expires_at > %s)",
        an_account(ledger, "owing"),
        ledger.at,
    )
    return "account"


@plants
def debt_is_never_overpaid(ledger: Told) -> str:
    """More debt is forgiven than there was: credit out of nothing."""
    entry = an_entry(ledger, "e.kind = 'debt_reversal'")
    ledger.do("update billing_ledgerentry set amount_nano = amount_nano + 1000000000000 where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def debt_is_paid_in_pairs(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'debt_settlement'")
    ledger.do("update billing_ledgerentry set amount_nano = amount_nano + 1 where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def debt_is_reopened_with_its_payments(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'debt_reopened'")
    ledger.do("update billing_ledgerentry set amount_nano = amount_nano - 1 where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def lots_keep_their_bounds(ledger: Told) -> str:
    ledger.do("alter table billing_creditlot drop constraint lot_sound")
    lot = ledger.one(
        "update billing_creditlot set remaining_nano = granted_nano + 1"
        " where id = (select max(id) from billing_creditlot) returning id"
    )
    return f"lot {lot}"


@plants
def lots_are_conserved(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set remaining_nano = remaining_nano - 1"
        " where id = (select max(id) from billing_creditlot where remaining_nano > 0) returning id"
    )
    return f"lot {lot}"


@plants
def lots_are_never_overdrawn(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'burn'")
    ledger.do(
        "update billing_ledgerentry e set amount_nano = -1 - l.granted_nano from billing_creditlot l"
        " where l.id = e.lot_id and e.id = %s",
        entry,
    )
    rechain(ledger)
    return f"entry {entry}"


@plants
def lots_are_granted_once(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set granted_nano = granted_nano + 1, remaining_nano = remaining_nano + 1"
        " where id = (select max(id) from billing_creditlot where remaining_nano > 0) returning id"
    )
    rechain(ledger)
    return f"lot {lot}"


@plants
def lots_are_what_was_bought(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set kind = 'auto_reload'"
        " where id = (select min(id) from billing_creditlot where kind = 'purchase') returning id"
    )
    rechain(ledger)
    return f"lot {lot}"


@plants
def lots_are_given_with_a_reason(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set reason = ' '"
        " where id = (select min(id) from billing_creditlot where kind = 'promotional') returning id"
    )
    return f"lot {lot}"


@plants
def paid_lots_end_on_the_anniversary(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set expires_at = expires_at + interval '1 day'"
        " where id = (select max(id) from billing_creditlot where kind = 'purchase') returning id"
    )
    rechain(ledger)
    return f"lot {lot}"


@plants
def lots_expire_at_their_end(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'expiry'")
    ledger.do("update billing_ledgerentry set value_at = value_at - interval '1 microsecond' where id = %s", entry)
    rechain(ledger)
    return f"entry {entry}"


@plants
def lots_are_spent_while_live(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'burn'")
    ledger.do(
        "update billing_ledgerentry e set value_at = l.expires_at from billing_creditlot l"
        " where l.id = e.lot_id and e.id = %s",
        entry,
    )
    rechain(ledger)
    return f"entry {entry}"


@plants
def lots_are_taken_back_within_their_grant(ledger: Told) -> str:
    taken = ledger.one(
        "update billing_takeback t set debt_nano = 2 * l.granted_nano, asked_nano = 4 * l.granted_nano"
        " from billing_creditlot l where l.id = t.lot_id and t.id = (select max(id) from billing_takeback)"
        " returning t.id"
    )
    return f"take-back {taken}"


@plants
def returns_to_ended_lots_expire_at_once(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'return_expired' and e.cause_kind = 'reversal'")
    ledger.do("update billing_ledgerentry set value_at = value_at - interval '1 second' where id = %s", entry)
    rechain(ledger)
    return "entry " + str(
        ledger.one(
            "select u.id from billing_ledgerentry e join billing_ledgerentry u"
            " on u.organization_id = e.organization_id and u.seq = e.seq - 1 where e.id = %s",
            entry,
        )
    )


@plants
def burning_lots_come_first(ledger: Told) -> str:
    """An account burns its last lot, with every sum as before."""
    lot = ledger.one(
        "update billing_creditaccount a"
        " set burning_lot_id = l.id, burning_remaining_nano = l.remaining_nano, burning_ends_at = l.expires_at"
        " from (select distinct on (organization_id) * from billing_creditlot where is_open"
        "       order by organization_id, expires_at desc) l"
        " where l.organization_id = a.organization_id and exists (select from billing_creditlot sooner"
        "   where sooner.organization_id = l.organization_id and sooner.is_open and sooner.expires_at < l.expires_at)"
        " and a.organization_id = %s returning l.id",
        an_account(ledger, "busy"),
    )
    return f"lot {lot}"


@plants
def credit_is_spent_in_order(ledger: Told) -> str:
    """A charge is moved from the lot that came first to one that comes later, with the remainders brought in line."""
    row = ledger.superuser.execute(
        "select e.id, e.lot_id, b.id, -e.amount_nano from billing_ledgerentry e"
        " join billing_creditlot a on a.id = e.lot_id"
        " join billing_creditlot b on b.organization_id = a.organization_id and b.expires_at > a.expires_at"
        "   and b.effective_at < e.booked_at and b.remaining_nano >= -e.amount_nano"
        " where e.kind = 'burn' and e.value_at = e.booked_at and a.effective_at < e.booked_at"
        "   and a.granted_nano >= a.remaining_nano - e.amount_nano and a.expires_at > e.booked_at"
        "   and a.expires_at > %s order by e.id limit 1",
        [ledger.at],
    ).fetchone()
    assert row is not None
    entry, first, later, nano = row
    ledger.do("update billing_ledgerentry set lot_id = %s where id = %s", later, entry)
    ledger.do("update billing_creditlot set remaining_nano = remaining_nano + %s where id = %s", nano, first)
    ledger.do("update billing_creditlot set remaining_nano = remaining_nano - %s where id = %s", nano, later)
    rechain(ledger)
    return f"entry {entry}"


@plants
def holds_are_allocated(ledger: Told) -> str:
    hold = ledger.one(
        "update billing_hold set lot_amounts_nano[1] = lot_amounts_nano[1] + 1 where id ="
        " (select min(id) from billing_hold where state = 'open') returning id"
    )
    return f"hold {hold}"


@plants
def holds_are_settled_once(ledger: Told) -> str:
    hold = ledger.one(
        "update billing_hold set state = 'voided' where id ="
        " (select min(id) from billing_hold where state = 'captured') returning id"
    )
    return f"hold {hold}"


@plants
def holds_are_as_authorized(ledger: Told) -> str:
    hold = ledger.one(
        "update billing_hold set expires_at = expires_at + interval '1 microsecond' where id ="
        " (select min(id) from billing_hold where state = 'voided') returning id"
    )
    return f"hold {hold}"


@plants
def holds_pay_in_order(ledger: Told) -> str:
    """A capture that spent two lots of its hold is booked as if it had spared the first."""
    hold, charge = ledger.superuser.execute(
        "select h.id, c.id from billing_hold h join billing_charge c on c.hold_id = h.id"
        " where cardinality(h.lot_ids) > 1 and c.amount_nano > h.lot_amounts_nano[1] and c.charged_at < h.expires_at"
        " order by h.id limit 1"
    ).fetchone() or ("no hold", "over two lots")
    for position, nano in [(1, 1), (2, -1)]:
        ledger.do(
            "update billing_ledgerentry e set amount_nano = e.amount_nano + %s from billing_hold h where h.id = %s"
            " and e.cause_kind = 'charge' and e.cause_id = %s and e.lot_id = h.lot_ids[%s]",
            nano,
            hold,
            charge,
            position,
        )
    rechain(ledger)
    return f"hold {hold}"


@plants
def holds_return_what_is_over(ledger: Told) -> str:
    entry = an_entry(ledger, "e.kind = 'return_expired' and e.cause_kind = 'hold' and e.amount_nano < -1")
    ledger.do("update billing_ledgerentry set amount_nano = amount_nano + 1 where id = %s", entry)
    rechain(ledger)
    return f"hold {ledger.one('select cause_id from billing_ledgerentry where id = %s', entry)}"


@plants
def charges_equal_their_entries(ledger: Told) -> str:
    """Usage that is forgiven by hand, prices and all."""
    charge = ledger.one(
        "update billing_charge set amount_nano = 0, debt_nano = 0, quantities = '{}' where id ="
        " (select max(id) from billing_charge where amount_nano > 0) returning id"
    )
    return f"charge {charge}"


@plants
def charges_cost_their_price(ledger: Told) -> str:
    charge = ledger.one(
        "update billing_charge set quantities = jsonb_set(quantities, '{input}', '1') where id ="
        " (select max(id) from billing_charge where amount_nano > 100) returning id"
    )
    return f"charge {charge}"


@plants
def charges_are_as_asked(ledger: Told) -> str:
    charge = ledger.one(
        "update billing_charge set key_ref = 'sk-of-somebody-else' where id ="
        " (select min(id) from billing_charge where operation = 'capture') returning id"
    )
    return f"charge {charge}"


@plants
def usage_days_are_their_charges(ledger: Told) -> str:
    day = ledger.one(
        "update billing_usageday set output_units = output_units + 1"
        " where id = (select max(id) from billing_usageday) returning id"
    )
    return f"usage day {day}"


@plants
def unpriced_usage_is_charged_once(ledger: Told) -> str:
    """Usage that an adjustment has charged is charged under its own key as well."""
    known, charge = ledger.superuser.execute(
        "select u.id, c.id from billing_unpricedusage u"
        " join billing_debitadjustment d on d.unpriced_usage_id = u.id"
        " join billing_charge c on c.organization_id = u.organization_id and c.operation = 'usage'"
        "   and c.amount_nano > 0"
        " where not exists (select 1 from billing_reversal r where r.cause_id in (c.id, d.id)) order by 1, 2 limit 1"
    ).fetchone() or ("no unpriced usage", "that was adjusted")
    ledger.do(
        "update billing_charge c set idempotency_key = u.idempotency_key from billing_unpricedusage u"
        " where u.id = %s and c.id = %s",
        known,
        charge,
    )
    return f"unpriced usage {known}"


@plants
def reversals_equal_their_entries(ledger: Told) -> str:
    reversal = ledger.one(
        "update billing_reversal set amount_nano = amount_nano + 1, asked_nano = null"
        " where id = (select max(id) from billing_reversal) returning id"
    )
    return f"reversal {reversal}"


@plants
def adjustments_equal_their_entries(ledger: Told) -> str:
    """Less of a correction is said to be owed than is."""
    adjustment = ledger.one(
        "update billing_debitadjustment set debt_nano = debt_nano - 1"
        " where id = (select max(id) from billing_debitadjustment where debt_nano > 0) returning id"
    )
    return f"adjustment {adjustment}"


@plants
def take_backs_equal_their_entries(ledger: Told) -> str:
    taken = ledger.one(
        "update billing_takeback set taken_nano = taken_nano - 1"
        " where id = (select max(id) from billing_takeback where taken_nano > 1) returning id"
    )
    return f"take-back {taken}"


@plants
def availability_was_told_right(ledger: Told) -> str:
    hold = ledger.one(
        "update billing_hold set available_after_nano = available_after_nano + 1"
        " where organization_id = %s returning id",
        an_account(ledger, "quiet"),
    )
    return f"hold {hold}"


@plants
def prices_were_in_force(ledger: Told) -> str:
    charge = ledger.one(
        "update billing_charge set price_version_id = (select max(id) from billing_priceversion) where id ="
        " (select min(id) from billing_charge) returning id"
    )
    return f"charge {charge}"


@plants
def keys_are_used_once(ledger: Told) -> str:
    ledger.do("alter table billing_charge drop constraint charge_key_once")
    second, first = (
        id_
        for (id_,) in ledger.superuser.execute(
            "select id from billing_charge where organization_id = %s order by id desc limit 2",
            [an_account(ledger, "busy")],
        )
    )
    ledger.do(
        "update billing_charge set idempotency_key = (select idempotency_key from billing_charge where id = %s)"
        " where id = %s",
        first,
        second,
    )
    return f"charge {second}"


@plants
def nothing_crosses_organizations(ledger: Told) -> str:
    purchase = ledger.one(
        "update billing_purchase set payment_method_id = (select min(id) from billing_paymentmethod"
        " where organization_id <> %(busy)s) where id ="
        " (select min(id) from billing_purchase where organization_id = %(busy)s) returning id".replace(
            "%(busy)s", str(an_account(ledger, "busy"))
        )
    )
    return f"purchase {purchase}"


@plants
def nothing_is_orphaned(ledger: Told) -> str:
    """A price version that charges name is deleted; no foreign key would stop it."""
    version = ledger.one("select price_version_id from billing_charge group by 1 order by count(*) limit 1")
    ledger.do("delete from billing_price where version_id = %s", version)
    ledger.do("delete from billing_priceversion where id = %s", version)
    return f"charge {ledger.one('select min(id) from billing_charge where price_version_id = %s', version)}"


@plants
def purchases_that_succeeded_have_one_lot(ledger: Told) -> str:
    purchase = ledger.one(
        "update billing_purchase set state = 'failed' where id ="
        " (select min(id) from billing_purchase where state = 'succeeded') returning id"
    )
    return f"purchase {purchase}"


@plants
def purchases_grant_what_was_paid(ledger: Told) -> str:
    purchase = ledger.one(
        "update billing_purchase set amount_cents = amount_cents - 1 where id ="
        " (select min(id) from billing_purchase where state = 'succeeded') returning id"
    )
    return f"purchase {purchase}"


@plants
def purchases_have_one_state(ledger: Told) -> str:
    first, second = (
        id_ for (id_,) in ledger.superuser.execute("select id from billing_purchase order by id limit 2").fetchall()
    )
    name = ledger.one(
        "select conname from pg_constraint where conrelid = 'billing_purchase'::regclass and contype = 'u'"
        " and pg_get_constraintdef(oid) = 'UNIQUE (payment_intent_id)'"
    )
    ledger.do(f'alter table billing_purchase drop constraint "{name}"')
    ledger.do(
        "update billing_purchase set payment_intent_id = (select payment_intent_id from billing_purchase"
        " where id = %s) where id = %s",
        first,
        second,
    )
    return f"purchase {second}"


@plants
def reloads_are_one_at_a_time(ledger: Told) -> str:
    ledger.do("drop index purchase_one_reload_in_flight")
    ledger.do(
        "update billing_purchase set state = 'processing', settled_at = null"
        " where kind = 'auto_reload' and state = 'failed'"
    )
    return f"purchase {ledger.one('select max(id) from billing_purchase where kind = %s', 'auto_reload')}"


@plants
def reloads_have_consent(ledger: Told) -> str:
    ledger.do("update billing_autoreloadconsent set is_enabled = false")
    return f"purchase {ledger.one('select min(id) from billing_purchase where kind = %s', 'auto_reload')}"


@plants
def reloads_keep_the_monthly_cap(ledger: Told) -> str:
    ledger.do("update billing_autoreloadconsent set monthly_cap_cents = 1599")
    return f"purchase {ledger.one('select min(id) from billing_purchase where kind = %s', 'auto_reload')}"


@plants
def reloads_keep_the_daily_limit(ledger: Told) -> str:
    for _ in range(6):
        last = ledger.one(
            "insert into billing_purchase (organization_id, kind, state, amount_cents, credit_nano, attempt_key,"
            "  payment_method_id, terms_version, terms_accepted_at, payment_intent_id, failure_code, decline_code,"
            "  sent_by, sent_at, created_at, settled_at)"
            " select organization_id, kind, state, amount_cents, credit_nano, %s::uuid, payment_method_id,"
            "  terms_version, terms_accepted_at, null, failure_code, decline_code, sent_by, sent_at, created_at,"
            "  settled_at"
            " from billing_purchase where kind = 'auto_reload' and state = 'failed' limit 1 returning id",
            str(uuid4()),
        )
    return f"purchase {last}"


@plants
def reload_lines_mirror_settings(ledger: Told) -> str:
    ledger.do("update billing_autoreload set is_enabled = false")
    return "account"


@plants
def low_accounts_are_marked(ledger: Told) -> str:
    ledger.do("update billing_creditaccount set low_at = null, low_cause = '' where low_at is not null")
    return "account"


@plants
def price_versions_do_not_overlap(ledger: Told) -> str:
    ledger.do("alter table billing_priceversion drop constraint price_versions_do_not_overlap")
    ledger.do("update billing_priceversion set superseded_at = null")
    model = ledger.one("select priced_model_id from billing_priceversion group by 1 having count(*) > 1")
    return f"price version {ledger.one('select max(id) from billing_priceversion where priced_model_id = %s', model)}"


@plants
def rates_are_the_prices(ledger: Told) -> str:
    """What usage costs is changed where charges read it, and not where people do."""
    version = ledger.one(
        "update billing_priceversion set rates = jsonb_set(rates, '{input}', '1')"
        " where id = (select min(id) from billing_priceversion) returning id"
    )
    return f"price version {version}"


@plants
def money_is_whole(ledger: Told) -> str:
    ledger.do("alter table billing_charge alter column debt_nano type numeric")
    return "billing_charge.debt_nano"


@plants
def guards_stand(ledger: Told) -> str:
    ledger.do("alter table billing_ledgerentry disable trigger ledgerentry_immutable")
    return "trigger ledgerentry_immutable"


@plants
def constraints_stand(ledger: Told) -> str:
    """A constraint of the same name that lets everything pass."""
    ledger.do("alter table billing_creditlot drop constraint lot_sound, add constraint lot_sound check (true)")
    return "constraint lot_sound"


@plants
def functions_are_the_shipped_ones(ledger: Told) -> str:
    ledger.do(
        "create or replace function public.credits__refuse_change() returns trigger language plpgsql"
        " as $$ begin return new; end $$"
    )
    return "function credits__refuse_change"


@plants
def the_runtime_role_writes_no_money(ledger: Told) -> str:
    ledger.do("grant update on billing_creditlot to console_app")
    return "table billing_creditlot"


@plants
def the_clock_is_the_databases(ledger: Told) -> str:
    ledger.do(
        "create or replace function public.credits_clock() returns timestamptz language sql volatile"
        " as $$ select clock_timestamp() - interval '1 hour' $$"
    )
    return "function credits_clock"


@plants
def ended_lots_are_booked(ledger: Told) -> str:
    lot = ledger.one(
        "update billing_creditlot set remaining_nano = 1 where id ="
        " (select min(id) from billing_creditlot where expires_at < %s) returning id",
        ledger.at - timedelta(hours=1),
    )
    return f"lot {lot}"


@plants
def purchases_are_in_time(ledger: Told) -> str:
    purchase = ledger.one(
        "update billing_purchase set created_at = settled_at + interval '1 hour'"
        " where id = (select min(id) from billing_purchase where state = 'succeeded') returning id"
    )
    return f"purchase {purchase}"


@plants
def purchases_end(ledger: Told) -> str:
    purchase = ledger.one(
        "update billing_purchase set state = 'processing', created_at = %s where state = 'needs_customer' returning id",
        ledger.at - timedelta(hours=1),
    )
    return f"purchase {purchase}"


@plants
def events_are_processed(ledger: Told) -> str:
    event = ledger.one(
        "update billing_stripeevent set processed_at = null, received_at = %s returning id",
        ledger.at - timedelta(hours=1),
    )
    return f"event {event}"


@plants
def messages_leave(ledger: Told) -> str:
    message = ledger.one(
        "insert into accounts_outboxmessage (key, recipients, subject, body, html_body, state, attempts, due_at,"
        " last_error, created_at) values ('k', '[]', 's', '', '', 'pending', 0, now(), '', %s) returning id",
        ledger.at - timedelta(hours=1),
    )
    return f"outbox message {message}"
