-- The hash of an entry over the one before it. Built from binary forms only: no session setting (DateStyle, TimeZone,
-- extra_float_digits, client encoding) changes a byte of it. An absent id and the id 0 give different bytes. The entry
-- that grants a lot covers the lot's terms too (p_terms): nothing else would know the end of a lot that was given.
create function public.credits__entry_hash(
  p_previous bytea, p_organization bigint, p_seq bigint, p_kind text, p_lot bigint, p_amount bigint,
  p_cause_kind text, p_cause_id bigint, p_actor bigint, p_value_at timestamptz, p_booked_at timestamptz, p_balance bigint,
  p_terms bytea
) returns bytea
language sql immutable as $$
  select sha256(
    p_previous || int8send(p_organization) || int8send(p_seq)
    || int4send(length(p_kind)) || convert_to(p_kind, 'UTF8')
    || coalesce(int4send(1) || int8send(p_lot), int4send(0)) || int8send(p_amount)
    || int4send(length(p_cause_kind)) || convert_to(p_cause_kind, 'UTF8') || int8send(p_cause_id)
    || coalesce(int4send(1) || int8send(p_actor), int4send(0))
    || timestamptz_send(p_value_at) || timestamptz_send(p_booked_at) || int8send(p_balance)
    || coalesce(p_terms, ''::bytea)
  )
$$;

-- What a lot was granted as. Its label and reason are left out: a person may be named there, and must be erasable.
create function public.credits__lot_terms(l public.billing_creditlot) returns bytea
language sql immutable as $$
  select int4send(length(l.kind)) || convert_to(l.kind, 'UTF8') || int8send(l.granted_nano)
    || timestamptz_send(l.effective_at) || timestamptz_send(l.expires_at)
$$;

-- The only place that inserts entries. The caller has changed the account's sums already and holds its lock; the
-- account comes back with its new head.
create function public.credits__append(
  a public.billing_creditaccount, p_kind text, p_lot bigint, p_amount bigint, p_cause_kind text, p_cause_id bigint,
  p_actor bigint, p_value_at timestamptz, p_booked_at timestamptz, p_terms bytea default null
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_balance bigint := a.unreserved_nano + a.held_nano - a.debt_nano;
begin
  a.last_seq := a.last_seq + 1;
  a.last_hash := public.credits__entry_hash(a.last_hash, a.organization_id, a.last_seq, p_kind, p_lot, p_amount,
    p_cause_kind, p_cause_id, p_actor, p_value_at, p_booked_at, v_balance, p_terms);
  insert into public.billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id,
    actor_id, value_at, booked_at, balance_after_nano, hash)
  values (a.organization_id, a.last_seq, p_kind, p_lot, p_amount, p_cause_kind, p_cause_id,
    p_actor, p_value_at, p_booked_at, v_balance, a.last_hash);
  return a;
end $$;
