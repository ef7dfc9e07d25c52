-- Takes credit out of live lots in burn order, as far as it reaches. Reads lots until covered, never all of them.
create function public.credits__take(
  p_organization bigint, p_amount bigint, p_at timestamptz,
  out lot_ids bigint[], out lot_amounts bigint[], out taken bigint
)
language plpgsql as $$
declare
  v_lot record;
  v_part bigint;
begin
  lot_ids := '{}'; lot_amounts := '{}'; taken := 0;
  if p_amount <= 0 then return; end if;
  for v_lot in select id, remaining_nano from public.credits_live_lots(p_organization, p_at) loop
    v_part := least(v_lot.remaining_nano, p_amount - taken);
    update public.billing_creditlot set remaining_nano = remaining_nano - v_part where id = v_lot.id;
    lot_ids := lot_ids || v_lot.id;
    lot_amounts := lot_amounts || v_part;
    taken := taken + v_part;
    exit when taken = p_amount;
  end loop;
end $$;

-- The same for a request in progress: from the burning lot alone, if it keeps some; that lot's row isn't written then.
create function public.credits__take_burning_first(
  a public.billing_creditaccount, p_amount bigint, p_at timestamptz,
  out account public.billing_creditaccount, out lot_ids bigint[], out lot_amounts bigint[], out taken bigint
)
language plpgsql as $$
begin
  if p_amount > 0 and p_amount < a.burning_remaining_nano then
    a.burning_remaining_nano := a.burning_remaining_nano - p_amount;
    lot_ids := array[a.burning_lot_id]; lot_amounts := array[p_amount]; taken := p_amount;
  else
    if p_amount > 0 then a := public.credits__put_back(a); end if;
    select t.lot_ids, t.lot_amounts, t.taken into lot_ids, lot_amounts, taken
    from public.credits__take(a.organization_id, p_amount, p_at) t;
  end if;
  if a.burning_lot_id is null then a := public.credits__take_up(a, p_at); end if;
  account := a;
end $$;

-- Books what was taken as spent by one cause.
create function public.credits__book_taken(
  a public.billing_creditaccount, p_kind text, p_lot_ids bigint[], p_lot_amounts bigint[],
  p_cause_kind text, p_cause_id bigint, p_value_at timestamptz, p_booked_at timestamptz, p_actor bigint default null,
  p_terms bytea default null
) returns public.billing_creditaccount
language plpgsql as $$
begin
  for i in 1 .. cardinality(p_lot_ids) loop
    a.unreserved_nano := a.unreserved_nano - p_lot_amounts[i];
    a := public.credits__append(a, p_kind, p_lot_ids[i], -p_lot_amounts[i], p_cause_kind, p_cause_id,
      p_actor, p_value_at, p_booked_at, p_terms);
  end loop;
  return a;
end $$;

-- Credit that a hold gives back. What comes back to a lot past its end can't be spent any more and is booked out at
-- once, one entry for each return, valued at the instant from which reads no longer counted it: the lot's end, or the
-- return where that is later.
create function public.credits__give_back(
  a public.billing_creditaccount, p_lot_ids bigint[], p_lot_amounts bigint[], p_hold public.billing_hold, p_at timestamptz
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_ended_at timestamptz;
begin
  for i in 1 .. cardinality(p_lot_ids) loop
    a.held_nano := a.held_nano - p_lot_amounts[i];
    if p_lot_ids[i] = a.burning_lot_id then
      a.burning_remaining_nano := a.burning_remaining_nano + p_lot_amounts[i];
      a.unreserved_nano := a.unreserved_nano + p_lot_amounts[i];
      continue;
    end if;
    -- It may come before the burning one, which burns no more then.
    a := public.credits__put_back(a);
    update public.billing_creditlot l set remaining_nano = remaining_nano + p_lot_amounts[i]
    where l.id = p_lot_ids[i] and l.expires_at > p_at;
    if found then
      a.unreserved_nano := a.unreserved_nano + p_lot_amounts[i];
    else
      select greatest(l.expires_at, least(p_hold.expires_at, p_at)) into v_ended_at
      from public.billing_creditlot l where l.id = p_lot_ids[i];
      a := public.credits__append(a, 'return_expired', p_lot_ids[i], -p_lot_amounts[i], 'hold', p_hold.id, null,
        v_ended_at, p_at);
    end if;
  end loop;
  return a;
end $$;
