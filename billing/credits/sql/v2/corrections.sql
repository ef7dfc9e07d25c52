-- The seqs that an operation wrote at one instant: booking times never fall with the number, so they are found by
-- halving, and entries need no index on time.
create function public.credits__seq_after(p_organization bigint, p_last_seq bigint, p_at timestamptz, p_inclusive boolean)
returns bigint
language plpgsql stable as $$
declare
  v_low bigint := 0;            -- booked before p_at (or at it)
  v_high bigint := p_last_seq + 1;
  v_middle bigint;
  v_booked_at timestamptz;
begin
  while v_high - v_low > 1 loop
    v_middle := (v_low + v_high) / 2;
    select booked_at into v_booked_at
    from public.billing_ledgerentry where organization_id = p_organization and seq = v_middle;
    if v_booked_at < p_at or (p_inclusive and v_booked_at = p_at) then v_low := v_middle; else v_high := v_middle; end if;
  end loop;
  return v_low;
end $$;

-- Takes credit away to put something right: from live lots in burn order; what they don't cover is debt where p_may_owe,
-- else nothing is taken. One key, one adjustment.
create function public.credits_adjust(
  p_organization bigint, p_amount bigint, p_key uuid, p_label text, p_reason text, p_actor bigint,
  p_unpriced_usage bigint, p_may_owe boolean,
  out outcome text, out adjustment_id bigint, out debt_nano bigint, out is_newly_low boolean
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a billing_creditaccount;
  v_known billing_debitadjustment;
  v_now timestamptz;
  v_was_low timestamptz;
  v_available bigint;
  v_taken record;
begin
  is_newly_low := false;
  a := credits__lock(p_organization);
  if a.organization_id is null then outcome := 'organization_unknown'; return; end if;
  select * into v_known from billing_debitadjustment where organization_id = p_organization and adjustment_key = p_key;
  if found then
    outcome := case when (v_known.amount_nano, v_known.label, v_known.reason, v_known.unpriced_usage_id)
      is not distinct from (p_amount, p_label, p_reason, p_unpriced_usage) then 'replayed' else 'conflict' end;
    adjustment_id := v_known.id; debt_nano := v_known.debt_nano;
    return;
  end if;
  if p_unpriced_usage is not null and not exists (
    select 1 from billing_unpricedusage where id = p_unpriced_usage and organization_id = p_organization
  ) then
    raise exception 'organization % has no unpriced usage %', p_organization, p_unpriced_usage using errcode = '23514';
  end if;
  if exists (
    select 1 from billing_unpricedusage u join billing_charge c
      on c.organization_id = u.organization_id and c.idempotency_key = u.idempotency_key
    where u.id = p_unpriced_usage and u.organization_id = p_organization and u.operation in ('usage', 'capture')
  ) then
    outcome := 'already_charged'; debt_nano := 0;
    return;
  end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  v_was_low := a.low_at;
  a := credits__catch_up(a, v_now);
  v_available := credits__available_nano(a, v_now);
  if not p_may_owe and v_available < p_amount then outcome := 'insufficient'; debt_nano := 0; return; end if;
  v_taken := credits__take(p_organization, p_amount, v_now);
  debt_nano := p_amount - v_taken.taken;
  insert into billing_debitadjustment (organization_id, adjustment_key, amount_nano, debt_nano, unpriced_usage_id, label,
    reason, actor_id, adjusted_at)
  values (p_organization, p_key, p_amount, debt_nano, p_unpriced_usage, p_label, p_reason, p_actor, v_now)
  returning id into adjustment_id;
  a := credits__book_taken(a, 'adjustment', v_taken.lot_ids, v_taken.lot_amounts, 'adjustment', adjustment_id, v_now, v_now,
    p_actor);
  a := credits__owe(a, 'adjustment_debt', debt_nano, 'adjustment', adjustment_id, v_now, p_actor);
  a := credits__note_level(a, v_now, credits__available_nano(a, v_now));
  is_newly_low := a.low_at is distinct from v_was_low;
  perform credits__save(a);
  outcome := 'adjusted';
end $$;

-- Takes back credit of one lot: what is left of it unreserved, never more than was granted in all (case 115), and the rest
-- as debt where it is owed. A lot past its end has nothing left. Nothing taken and nothing owed leaves no trace.
create function public.credits_take_back(
  p_organization bigint, p_lot bigint, p_amount bigint, p_key uuid, p_label text, p_reason text, p_actor bigint,
  p_rest_as_debt boolean,
  out outcome text, out take_back_id bigint, out taken_nano bigint, out debt_nano bigint, out is_newly_low boolean
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a billing_creditaccount;
  v_known billing_takeback;
  v_lot billing_creditlot;
  v_now timestamptz;
  v_was_low timestamptz;
  v_amount bigint;
begin
  is_newly_low := false; taken_nano := 0; debt_nano := 0;
  a := credits__lock(p_organization);
  if a.organization_id is null then outcome := 'organization_unknown'; return; end if;
  select * into v_known from billing_takeback where organization_id = p_organization and take_back_key = p_key;
  if found then
    outcome := case when (v_known.lot_id, v_known.asked_nano, v_known.is_rest_owed, v_known.label, v_known.reason)
      is not distinct from (p_lot, p_amount, p_rest_as_debt, p_label, p_reason) then 'replayed' else 'conflict' end;
    take_back_id := v_known.id; taken_nano := v_known.taken_nano; debt_nano := v_known.debt_nano;
    return;
  end if;
  select * into v_lot from billing_creditlot where organization_id = p_organization and id = p_lot;
  if not found then outcome := 'lot_unknown'; return; end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  v_was_low := a.low_at;
  a := credits__catch_up(a, v_now);
  v_amount := least(p_amount, v_lot.granted_nano - credits__taken_back_nano(p_organization, p_lot));
  select case when expires_at > v_now then least(remaining_nano, greatest(v_amount, 0)) else 0 end into taken_nano
  from billing_creditlot where id = p_lot;
  if p_rest_as_debt then debt_nano := greatest(v_amount, 0) - taken_nano; end if;
  if taken_nano + debt_nano = 0 then outcome := 'nothing_left'; return; end if;
  insert into billing_takeback (organization_id, take_back_key, lot_id, asked_nano, is_rest_owed, taken_nano, debt_nano, label,
    reason, actor_id, taken_back_at)
  values (p_organization, p_key, p_lot, p_amount, p_rest_as_debt, taken_nano, debt_nano, p_label, p_reason, p_actor, v_now)
  returning id into take_back_id;
  if taken_nano > 0 then
    update billing_creditlot set remaining_nano = remaining_nano - taken_nano where id = p_lot;
    a := credits__book_taken(a, 'take_back', array[p_lot], array[taken_nano], 'take_back', take_back_id, v_now, v_now, p_actor);
  end if;
  a := credits__owe(a, 'take_back_debt', debt_nano, 'take_back', take_back_id, v_now, p_actor);
  a := credits__pay_debt(a, 'take_back', take_back_id, v_now);
  a := credits__note_level(a, v_now, credits__available_nano(a, v_now));
  is_newly_low := a.low_at is distinct from v_was_low;
  perform credits__save(a);
  outcome := 'taken_back';
end $$;

-- What of a lot is taken back and was not given back again.
create function public.credits__taken_back_nano(p_organization bigint, p_lot bigint) returns bigint
language sql stable as $$
  select coalesce(sum(t.taken_nano + t.debt_nano - coalesce((
    select sum(r.amount_nano) from public.billing_reversal r
    where r.organization_id = t.organization_id and r.cause_kind = 'take_back' and r.cause_id = t.id), 0)), 0)::bigint
  from public.billing_takeback t where t.organization_id = p_organization and t.lot_id = p_lot
$$;

-- Undoes a charge, an adjustment or a take-back, wholly or in part, in the reverse order of its entries: credit goes
-- back to the lots it came from, debt goes away. It never asks today's burn order. One key, one reversal. Works on frozen and
-- closed accounts too.
create function public.credits_reverse(
  p_organization bigint, p_cause_kind text, p_cause bigint, p_amount bigint, p_key uuid, p_label text, p_reason text,
  p_actor bigint,
  out outcome text, out reversal_id bigint, out amount_nano bigint, out expired_nano bigint
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a billing_creditaccount;
  v_known billing_reversal;
  v_cause record;
  v_left bigint;
  v_now timestamptz;
begin
  expired_nano := 0;
  a := credits__lock(p_organization);
  if a.organization_id is null then outcome := 'organization_unknown'; return; end if;
  select * into v_known from billing_reversal where organization_id = p_organization and reversal_key = p_key;
  if found then
    outcome := case when (v_known.cause_kind, v_known.cause_id, v_known.asked_nano, v_known.label, v_known.reason)
      is not distinct from (p_cause_kind, p_cause, p_amount, p_label, p_reason) then 'replayed' else 'conflict' end;
    reversal_id := v_known.id; amount_nano := v_known.amount_nano;
    expired_nano := credits__expired_by_reversal(a, v_known.id, v_known.reversed_at);
    return;
  end if;
  v_cause := credits__cause(p_organization, p_cause_kind, p_cause);
  if v_cause.booked_at is null then outcome := 'cause_unknown'; return; end if;
  select v_cause.amount_nano - coalesce(sum(r.amount_nano), 0) into v_left
  from billing_reversal r
  where r.organization_id = p_organization and r.cause_kind = p_cause_kind and r.cause_id = p_cause;
  amount_nano := coalesce(p_amount, v_left);
  if v_left = 0 then outcome := 'nothing_left'; amount_nano := 0; return; end if;
  if amount_nano > v_left then outcome := 'too_much'; amount_nano := v_left; return; end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  a := credits__catch_up(a, v_now);
  insert into billing_reversal (organization_id, reversal_key, cause_kind, cause_id, asked_nano, amount_nano, label, reason,
    actor_id, reversed_at)
  values (p_organization, p_key, p_cause_kind, p_cause, p_amount, amount_nano, p_label, p_reason, p_actor, v_now)
  returning id into reversal_id;
  a := credits__unwind(a, p_cause_kind, p_cause, v_cause.booked_at, amount_nano, reversal_id, p_actor, v_now);
  if p_cause_kind = 'charge' then
    update billing_usageday d set reversed_nano = d.reversed_nano + credits_reverse.amount_nano
    from billing_charge c join billing_priceversion v on v.id = c.price_version_id
    where c.id = p_cause and d.organization_id = p_organization and d.day = (c.started_at at time zone 'UTC')::date
      and d.surface = c.surface and d.priced_model_id = v.priced_model_id and d.key_ref = c.key_ref;
  end if;
  a := credits__pay_debt(a, 'reversal', reversal_id, v_now);
  a := credits__replenished(a, credits__available_nano(a, v_now));
  perform credits__save(a);
  expired_nano := credits__expired_by_reversal(a, reversal_id, v_now);
  outcome := 'reversed';
end $$;

-- What of a reversal came back to lots past their end.
create function public.credits__expired_by_reversal(
  a public.billing_creditaccount, p_reversal bigint, p_booked_at timestamptz
) returns bigint
language sql stable as $$
  select coalesce(-sum(amount_nano), 0)::bigint from public.billing_ledgerentry
  where organization_id = a.organization_id and kind = 'return_expired'
    and cause_kind = 'reversal' and cause_id = p_reversal
    and seq > public.credits__seq_after(a.organization_id, a.last_seq, p_booked_at, false)
    and seq <= public.credits__seq_after(a.organization_id, a.last_seq, p_booked_at, true)
$$;

-- What is to be undone, and when it was booked.
create function public.credits__cause(
  p_organization bigint, p_kind text, p_id bigint, out amount_nano bigint, out booked_at timestamptz
)
language plpgsql stable as $$
begin
  if p_kind = 'charge' then
    select c.amount_nano, c.charged_at into amount_nano, booked_at
    from public.billing_charge c where c.organization_id = p_organization and c.id = p_id;
  elsif p_kind = 'adjustment' then
    select d.amount_nano, d.adjusted_at into amount_nano, booked_at
    from public.billing_debitadjustment d where d.organization_id = p_organization and d.id = p_id;
  elsif p_kind = 'take_back' then
    select t.taken_nano + t.debt_nano, t.taken_back_at into amount_nano, booked_at
    from public.billing_takeback t where t.organization_id = p_organization and t.id = p_id;
  end if;
end $$;

-- Walks the entries of a cause from the last to the first and undoes what of each is not undone yet.
create function public.credits__unwind(
  a public.billing_creditaccount, p_cause_kind text, p_cause bigint, p_booked_at timestamptz, p_amount bigint,
  p_reversal bigint, p_actor bigint, p_at timestamptz
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_entry public.billing_ledgerentry;
  v_left bigint := p_amount;
  v_part bigint;
begin
  for v_entry in
    select * from public.billing_ledgerentry
    where organization_id = a.organization_id and cause_kind = p_cause_kind and cause_id = p_cause
      and seq > public.credits__seq_after(a.organization_id, a.last_seq, p_booked_at, false)
      and seq <= public.credits__seq_after(a.organization_id, a.last_seq, p_booked_at, true)
      and kind in ('burn', 'overshoot', 'late_capture', 'adjustment', 'adjustment_debt', 'take_back', 'take_back_debt')
    order by seq desc
  loop
    v_part := least(v_left, public.credits__standing_nano(v_entry));
    if v_part > 0 then
      if v_entry.lot_id is null then
        a := public.credits__reopen_debt(a, v_part - a.debt_nano, p_reversal, p_actor, p_at);
        a.debt_nano := a.debt_nano - v_part;
        a := public.credits__append(a, 'debt_reversal', null, v_part, 'reversal', p_reversal, p_actor, p_at, p_at, null,
          v_entry.seq);
      else
        a := public.credits__return_to_lot(a, v_entry, v_part, p_reversal, p_actor, p_at);
      end if;
      v_left := v_left - v_part;
    end if;
    exit when v_left = 0;
  end loop;
  if v_left > 0 then raise exception '% % has no entries for % nano of it', p_cause_kind, p_cause, v_left; end if;
  return a;
end $$;

-- The part of an entry that no other has undone, as an amount without sign.
create function public.credits__standing_nano(e public.billing_ledgerentry) returns bigint
language sql stable as $$
  select abs(e.amount_nano) - coalesce(sum(abs(u.amount_nano)), 0)::bigint
  from public.billing_ledgerentry u
  where u.organization_id = e.organization_id and u.reverses_seq = e.seq
$$;

-- Credit that a reversal gives back to the lot it was taken from; past the lot's end it expires at once.
create function public.credits__return_to_lot(
  a public.billing_creditaccount, p_entry public.billing_ledgerentry, p_amount bigint, p_reversal bigint, p_actor bigint,
  p_at timestamptz
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_is_live boolean;
begin
  update public.billing_creditlot set remaining_nano = remaining_nano + p_amount
  where id = p_entry.lot_id and expires_at > p_at;
  v_is_live := found;
  a.unreserved_nano := a.unreserved_nano + p_amount;
  a := public.credits__append(a, 'reversal', p_entry.lot_id, p_amount, 'reversal', p_reversal, p_actor, p_at, p_at, null,
    p_entry.seq);
  if not v_is_live then
    a.unreserved_nano := a.unreserved_nano - p_amount;
    a := public.credits__append(a, 'return_expired', p_entry.lot_id, -p_amount, 'reversal', p_reversal, p_actor, p_at, p_at);
  end if;
  return a;
end $$;

-- Debt that is to go away but was paid since: its newest payments are undone, so that their lots get back what they
-- paid.
create function public.credits__reopen_debt(
  a public.billing_creditaccount, p_amount bigint, p_reversal bigint, p_actor bigint, p_at timestamptz
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_settlement public.billing_ledgerentry;
  v_payment public.billing_ledgerentry;
  v_left bigint := p_amount;
  v_part bigint;
  v_returned bigint;
  v_returning bigint;
begin
  if v_left <= 0 then return a; end if;
  for v_settlement in
    select * from public.billing_ledgerentry
    where organization_id = a.organization_id and kind = 'debt_settlement'
    order by seq desc
  loop
    v_part := least(v_left, public.credits__standing_nano(v_settlement));
    continue when v_part = 0;
    a.debt_nano := a.debt_nano + v_part;
    a := public.credits__append(a, 'debt_reopened', null, -v_part, 'reversal', p_reversal, p_actor, p_at, p_at, null,
      v_settlement.seq);
    v_returned := 0;
    -- The payments of a settlement stand directly before it, after the settlement before.
    for v_payment in
      select * from public.billing_ledgerentry
      where organization_id = a.organization_id and kind = 'debt_payment' and seq < v_settlement.seq
        and seq > coalesce((
          select max(e.seq) from public.billing_ledgerentry e
          where e.organization_id = a.organization_id and e.kind = 'debt_settlement' and e.seq < v_settlement.seq), 0)
      order by seq desc
    loop
      v_returning := least(v_part - v_returned, public.credits__standing_nano(v_payment));
      if v_returning > 0 then
        a := public.credits__return_to_lot(a, v_payment, v_returning, p_reversal, p_actor, p_at);
        v_returned := v_returned + v_returning;
      end if;
      exit when v_returned = v_part;
    end loop;
    if v_returned <> v_part then raise exception 'settlement % has no payments for all of it', v_settlement.seq; end if;
    v_left := v_left - v_part;
    exit when v_left = 0;
  end loop;
  if v_left > 0 then raise exception 'organization % has not paid % nano of its debt', a.organization_id, v_left; end if;
  return a;
end $$;

-- Opens, freezes or closes an account: no new request is authorized or charged unless it is open. Whatever is under way
-- ends as it would. Closing is final. Returns the state before, or null where there is no such organization.
create function public.credits_set_state(p_organization bigint, p_state text) returns text
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a billing_creditaccount;
  v_before text;
begin
  a := credits__lock(p_organization);
  if a.organization_id is null then return null; end if;
  v_before := a.state;
  if v_before = 'closed' and p_state <> 'closed' then
    raise exception 'the account of organization % is closed', p_organization using errcode = '23514';
  end if;
  a.state := p_state;
  perform credits__save(a);
  return v_before;
end $$;
