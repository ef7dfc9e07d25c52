-- Books what is left of lots past their end, once for each lot. The credit was unspendable from that instant already.
create function public.credits_expire(p_organization bigint, p_limit integer, out booked integer, out is_newly_low boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  v_lot billing_creditlot;
  v_now timestamptz;
  v_was_low timestamptz;
begin
  booked := 0; is_newly_low := false;
  a := credits__lock(p_organization);
  if a.organization_id is null then return; end if;
  a := credits__stamp(a);
  v_now := a.last_at;
  v_was_low := a.low_at;
  a := credits__catch_up(a, v_now);
  for v_lot in
    select * from billing_creditlot
    where organization_id = p_organization and is_open and expires_at <= v_now
    order by expires_at, id limit p_limit
  loop
    update billing_creditlot set remaining_nano = 0 where id = v_lot.id;
    a.unreserved_nano := a.unreserved_nano - v_lot.remaining_nano;
    a := credits__append(a, 'expiry', v_lot.id, -v_lot.remaining_nano, 'lot', v_lot.id, null, v_lot.expires_at, v_now);
    booked := booked + 1;
  end loop;
  a := credits__note_level(a, v_now, credits__available_nano(a, v_now));
  is_newly_low := a.low_at is distinct from v_was_low;
  perform credits__save(a);
end $$;

-- Books at most p_limit lots past their end, whosever they are, in one transaction: one flush for all instead of one for
-- each organization. The accounts are locked in one order. What is available does not change by it, because the credit
-- counted no more from its end on; but that end may have brought an account below its line, or to nothing, while
-- nobody came by.
create function public.credits_expire_due(p_limit integer, out booked integer, out newly_low bigint[])
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_lots bigint[];
  v_organizations bigint[];
  v_burning bigint[];
  v_holding bigint[];
  v_organization bigint;
  v_now timestamptz := credits_clock();
  v_alone record;
  v_went_alone bigint[] := '{}';
  v_low bigint[];
begin
  booked := 0; newly_low := '{}';
  select array_agg(id), array_agg(distinct organization_id) into v_lots, v_organizations
  from (
    select id, organization_id from billing_creditlot
    where is_open and expires_at <= v_now order by expires_at, organization_id, id limit p_limit
  ) due;
  if v_lots is null then return; end if;
  select array_agg(organization_id) filter (where burning_lot_id is not null),
    array_agg(organization_id) filter (where held_nano > 0)
  into v_burning, v_holding
  from (
    select organization_id, burning_lot_id, held_nano from billing_creditaccount
    where organization_id = any (v_organizations) order by organization_id for no key update
  ) locked;
  v_now := credits_clock();
  if v_burning is not null then perform credits__put_back_all(v_burning); end if;
  -- An account with holds to give back first is no plain one.
  for v_organization in
    select a.organization_id from billing_creditaccount a
    where a.organization_id = any (v_holding) and exists (
      select 1 from billing_hold h
      where h.organization_id = a.organization_id and h.state = 'open' and h.amount_nano > 0
        and h.expires_at <= greatest(v_now, a.last_at))
    order by a.organization_id
  loop
    v_alone := credits_expire(v_organization, p_limit);
    booked := booked + v_alone.booked;
    if v_alone.is_newly_low then newly_low := newly_low || v_organization; end if;
    v_went_alone := v_went_alone || v_organization;
  end loop;
  -- Lots are looked up by their ids and accounts by those of their lots, never by a list of their own: a plan that is
  -- kept doesn't know how long a list is, and would compare each lot with each account.
  with due as materialized (
    select l.id, l.organization_id, l.remaining_nano, l.expires_at, greatest(v_now, a.last_at) as at, a.last_hash,
      a.last_seq + row_number() over w as seq, (sum(l.remaining_nano) over w)::bigint as nano,
      (a.unreserved_nano + a.held_nano - a.debt_nano - sum(l.remaining_nano) over w)::bigint as balance,
      a.reload_below_nano, a.low_at, a.exhausted_at,
      lead(l.id) over w is null as is_last, row_number() over w = 1 and lead(l.id) over w is null as is_only
    from billing_creditlot l join billing_creditaccount a on a.organization_id = l.organization_id
    where l.id = any (v_lots) and l.is_open and l.organization_id <> all (v_went_alone)
    window w as (partition by l.organization_id order by l.expires_at, l.id)
  ),
  unchained as not materialized (
    select *, credits__entry_bytes(organization_id, seq, 'expiry', id, -remaining_nano, 'lot', id, null, null,
      expires_at, at, balance, null) as bytes
    from due
  ),
  -- The aggregate is for accounts with several of the lots; most have one.
  chained as materialized (
    select organization_id, seq, id, remaining_nano, expires_at, at, nano, balance, reload_below_nano, low_at,
      exhausted_at, is_last, sha256(last_hash || bytes) as hash
    from unchained where is_only
    union all
    select organization_id, seq, id, remaining_nano, expires_at, at, nano, balance, reload_below_nano, low_at,
      exhausted_at, is_last, credits__chain(bytes, last_hash) over (partition by organization_id order by seq)
    from unchained where not is_only
    order by organization_id, seq
  ),
  emptied as (
    update billing_creditlot set remaining_nano = 0 where id = any (array(select id from due))
  ),
  inserted as (
    insert into billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id, value_at,
      booked_at, balance_after_nano, hash)
    select organization_id, seq, 'expiry', id, -remaining_nano, 'lot', id, expires_at, at, balance, hash
    from chained order by organization_id, seq
  ),
  -- The level counts no lot that has ended, whether it is booked here or is left for the next transaction. It is looked
  -- at only where somebody could have to be told.
  noted as (
    select organization_id, seq, hash, at, nano, reload_below_nano, low_at, exhausted_at,
      case when exhausted_at is null or (low_at is null and reload_below_nano is not null) then
        balance + nano - (
          select coalesce(sum(l.remaining_nano), 0)::bigint from billing_creditlot l
          where l.organization_id = c.organization_id and l.is_open and l.expires_at <= c.at
        )
      end as level
    from chained c where is_last
  ),
  saved as (
    update billing_creditaccount a
    set last_at = n.at, last_seq = n.seq, last_hash = n.hash, unreserved_nano = a.unreserved_nano - n.nano,
      low_at = case when n.low_at is null and n.level < n.reload_below_nano then n.at else a.low_at end,
      low_cause = case when n.low_at is null and n.level < n.reload_below_nano then 'level' else a.low_cause end,
      exhausted_at = case when n.exhausted_at is null and n.level <= 0 then n.at else a.exhausted_at end
    from noted n where a.organization_id = n.organization_id
  ),
  told as (
    insert into billing_creditevent (organization_id, kind, occurred_at)
    select organization_id, 'reload_due', at from noted where low_at is null and level < reload_below_nano
    union all
    select organization_id, 'exhausted', at from noted where exhausted_at is null and level <= 0
  )
  select booked + (select count(*) from chained),
    (select array_agg(organization_id) from noted where low_at is null and level < reload_below_nano)
  into booked, v_low;
  newly_low := newly_low || coalesce(v_low, '{}');
end $$;
