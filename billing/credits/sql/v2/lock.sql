-- The one lock of an organization's money, and the first statement of every operation. A statement of its own: a
-- statement that both locks and reads would read lots as they were before the wait, and spend them twice.
-- Creates the account of a new organization. The result is null where there is no such organization.
create function public.credits__lock(p_organization bigint) returns public.billing_creditaccount
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_now timestamptz;
begin
  select * into a from public.billing_creditaccount where organization_id = p_organization for no key update;
  if not found then
    v_now := public.credits_clock();
    insert into public.billing_creditaccount (organization_id, state, last_at, last_seq, last_hash, unreserved_nano,
      held_nano, debt_nano, low_cause, created_at)
    select id, 'open', v_now, 0, ''::bytea, 0, 0, 0, '', v_now
    from public.accounts_organization where id = p_organization
    on conflict do nothing;
    select * into a from public.billing_creditaccount where organization_id = p_organization for no key update;
  end if;
  return a;
end $$;

-- Where single operations on one organization line up for its lock. It guards nothing: whoever waits here is woken once,
-- and finds the row free, where a row that many wait for wakes each of them twice. An operation of many organizations
-- doesn't line up, because the queues live in the server's one table of locks; so nothing that holds a row may wait here.
create function public.credits__queue(p_organization bigint) returns boolean
language sql as $$ select pg_advisory_xact_lock(p_organization) is not null $$;

-- The time of an operation: the database's clock, but never before the account's last operation. A clock that is set back
-- must not book an entry before the one it follows, nor bring a lot back whose end was booked.
create function public.credits__stamp(a public.billing_creditaccount) returns public.billing_creditaccount
language plpgsql as $$
begin
  a.last_at := greatest(public.credits_clock(), a.last_at);
  return a;
end $$;

-- True, so that hot operations can assign it: PERFORM runs a query of its own, and an assignment does not.
create function public.credits__save(a public.billing_creditaccount) returns boolean
language plpgsql as $$
begin
  update public.billing_creditaccount
  set state = a.state, last_at = a.last_at, last_seq = a.last_seq, last_hash = a.last_hash,
    unreserved_nano = a.unreserved_nano, held_nano = a.held_nano, debt_nano = a.debt_nano,
    reload_below_nano = a.reload_below_nano, low_at = a.low_at, low_cause = a.low_cause, exhausted_at = a.exhausted_at,
    burning_lot_id = a.burning_lot_id, burning_remaining_nano = a.burning_remaining_nano,
    burning_ends_at = a.burning_ends_at
  where organization_id = a.organization_id;
  return true;
end $$;
