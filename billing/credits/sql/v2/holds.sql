-- Holds that have lapsed and of which something is to be given back. A table, which PostgreSQL writes into the query that
-- asks for it.
create function public.credits__lapsed_holds(p_organization bigint, p_at timestamptz) returns table (hold_id bigint)
language sql stable as $$
  select id from public.billing_hold
  where organization_id = p_organization and state = 'open' and expires_at <= p_at and amount_nano > 0
$$;

-- Whether there is one: a call that is made only where something is held.
create function public.credits__has_lapsed(p_organization bigint, p_at timestamptz) returns boolean
language plpgsql stable as $$
begin
  return exists (select from public.credits__lapsed_holds(p_organization, p_at));
end $$;

-- A hold lapses by predicate. The first operation that comes by gives it back; until then reads count it as given
-- back. A hold of nothing has nothing to give back and stays. What came back to ended lots is an expiry like any other, so
-- the line of auto-reload is looked at here too.
create function public.credits__lapse(
  a public.billing_creditaccount, p_at timestamptz, p_except bigint default null
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_hold public.billing_hold;
  v_lapsed boolean := false;
begin
  if a.held_nano = 0 then return a; end if;
  for v_hold in
    select * from public.billing_hold
    where organization_id = a.organization_id and state = 'open' and expires_at <= p_at and amount_nano > 0
      and id is distinct from p_except
    order by expires_at, id
  loop
    a := public.credits__give_back(a, v_hold.lot_ids, v_hold.lot_amounts_nano, v_hold, p_at);
    update public.billing_hold set state = 'lapsed', settled_at = p_at where id = v_hold.id;
    a := public.credits__pay_debt(a, 'hold', v_hold.id, p_at);
    v_lapsed := true;
  end loop;
  if v_lapsed then
    a := public.credits__note_level(a, p_at, public.credits__available_nano(a, p_at));
    perform public.credits__save(a);
  end if;
  return a;
end $$;

-- Brings an account to an instant before its lots are touched: their remainders are in their rows, and lapsed holds are
-- given back.
create function public.credits__catch_up(a public.billing_creditaccount, p_at timestamptz)
returns public.billing_creditaccount
language plpgsql as $$
begin
  a := public.credits__put_back(a);
  return public.credits__lapse(a, p_at);
end $$;

-- The same for a request in progress, which goes on with the burning lot as long as that is live. A capture leaves its own
-- hold out (p_except): it is paid from its allocation as long as that is there.
create function public.credits__catch_up_burning(
  a public.billing_creditaccount, p_at timestamptz, p_except bigint default null
) returns public.billing_creditaccount
language plpgsql as $$
begin
  if a.burning_ends_at <= p_at then a := public.credits__put_back(a); end if;
  return public.credits__lapse(a, p_at, p_except);
end $$;

-- Credit that a new request may use now: live and unreserved, less debt.
create function public.credits__available_nano(a public.billing_creditaccount, p_at timestamptz) returns bigint
language plpgsql stable as $$
begin
  if a.unreserved_nano = 0 then return -a.debt_nano; end if;
  -- The burning lot is live and comes first in burn order, so none has ended.
  if a.burning_ends_at > p_at then return a.unreserved_nano - a.debt_nano; end if;
  return a.unreserved_nano - public.credits__ended_nano(a.organization_id, p_at) - a.debt_nano;
end $$;
