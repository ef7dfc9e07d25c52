-- What the hash of an entry covers, as bytes: its columns in PostgreSQL's binary form of a row, where each has its type
-- and length and an absent one a length of its own, so that no two entries give the same bytes. No session setting (DateStyle,
-- TimeZone, extra_float_digits) changes a byte of it; the texts are kinds, which are ASCII in every client encoding. The
-- entry that grants a lot covers the lot's terms too (p_terms): nothing else would know the end of a lot that was given. An
-- entry of a charge covers the charge's key (credits__charge_terms): all else of a charge is known to its amount, its price
-- and its day of usage.
create function public.credits__entry_bytes(
  p_organization bigint, p_seq bigint, p_kind text, p_lot bigint, p_amount bigint,
  p_cause_kind text, p_cause_id bigint, p_reverses bigint, p_actor bigint, p_value_at timestamptz,
  p_booked_at timestamptz, p_balance bigint, p_terms bytea
) returns bytea
language sql stable as $$
  select record_send(row(p_organization, p_seq, p_kind, p_lot, p_amount, p_cause_kind, p_cause_id, p_reverses, p_actor,
    p_value_at, p_booked_at, p_balance, p_terms))
$$;

-- The hash of an entry covers the hash before it. As a window aggregate, for many entries at once: the first follows
-- p_start.
create function public.credits__chain_step(p_previous bytea, p_entry bytea, p_start bytea) returns bytea
language plpgsql immutable as $$
begin
  return sha256(coalesce(p_previous, p_start) || p_entry);
end $$;

create aggregate public.credits__chain(p_entry bytea, p_start bytea) (
  sfunc = public.credits__chain_step, stype = bytea
);

-- What a lot was granted as. Its label and reason are left out: a person may be named there, and must be erasable.
create function public.credits__lot_terms(l public.billing_creditlot) returns bytea
language sql immutable as $$
  select int4send(length(l.kind)) || convert_to(l.kind, 'UTF8') || int8send(l.granted_nano)
    || timestamptz_send(l.effective_at) || timestamptz_send(l.expires_at)
$$;

-- What an entry of a charge covers of it. Keys are ASCII (the gate takes no others), so the bytes are the same in every
-- client encoding; `convert_to` would say so itself, at eight times the cost.
create function public.credits__charge_terms(p_key text) returns bytea
language sql stable as $$ select textsend(p_key) $$;

-- Inserts an entry, and returns its hash. Entries are inserted here, for a run of charges by
-- credits__insert_burns, and nowhere else but by the sweep of many accounts (credits_expire_due).
create function public.credits__insert_entry(
  p_organization bigint, p_seq bigint, p_previous bytea, p_kind text, p_lot bigint, p_amount bigint,
  p_cause_kind text, p_cause_id bigint, p_reverses bigint, p_actor bigint, p_value_at timestamptz,
  p_booked_at timestamptz, p_balance bigint, p_terms bytea
) returns bytea
language plpgsql as $$
declare
  v_hash bytea := sha256(p_previous || public.credits__entry_bytes(p_organization, p_seq, p_kind, p_lot, p_amount,
    p_cause_kind, p_cause_id, p_reverses, p_actor, p_value_at, p_booked_at, p_balance, p_terms));
begin
  insert into public.billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id,
    reverses_seq, actor_id, value_at, booked_at, balance_after_nano, hash)
  values (p_organization, p_seq, p_kind, p_lot, p_amount, p_cause_kind, p_cause_id,
    p_reverses, p_actor, p_value_at, p_booked_at, p_balance, v_hash);
  return v_hash;
end $$;

-- Appends an entry. The caller has changed the account's sums already and holds its lock; the account comes back with
-- its new head.
create function public.credits__append(
  a public.billing_creditaccount, p_kind text, p_lot bigint, p_amount bigint, p_cause_kind text, p_cause_id bigint,
  p_actor bigint, p_value_at timestamptz, p_booked_at timestamptz, p_terms bytea default null,
  p_reverses bigint default null
) returns public.billing_creditaccount
language plpgsql as $$
begin
  a.last_seq := a.last_seq + 1;
  a.last_hash := public.credits__insert_entry(a.organization_id, a.last_seq, a.last_hash, p_kind, p_lot, p_amount,
    p_cause_kind, p_cause_id, p_reverses, p_actor, p_value_at, p_booked_at,
    a.unreserved_nano + a.held_nano - a.debt_nano, p_terms);
  return a;
end $$;
