-- What an organization has at an instant, in one snapshot: the page, the gate and the ledger say the same.
create function public.credits_summary(
  p_organization bigint, p_at timestamptz default null, out counted_at timestamptz, out balance_nano bigint,
  out held_nano bigint, out open_holds bigint, out debt_nano bigint, out available_nano bigint, out state text,
  out reload_below_nano bigint, out low_at timestamptz
)
language sql stable security definer set search_path = public, pg_temp as $$
  with clock as materialized (
    select coalesce(p_at, greatest(credits_clock(), (
      select last_at from billing_creditaccount where organization_id = p_organization
    ))) as at
  ),
  live as (
    select coalesce(sum(l.remaining_nano), 0) as nano
    from credits_lots(p_organization) l, clock
    where l.is_open and l.effective_at <= clock.at and l.expires_at > clock.at
  ),
  holds as (
    select
      coalesce(sum(h.amount_nano) filter (where h.expires_at > clock.at), 0) as nano,
      count(*) filter (where h.expires_at > clock.at) as open_holds
    from billing_hold h, clock where h.organization_id = p_organization and h.state = 'open'
  ),
  lapsed as (
    select coalesce(sum(part.nano), 0) as nano
    from clock, billing_hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano), billing_creditlot l
    where h.organization_id = p_organization and h.state = 'open' and h.expires_at <= clock.at
      and l.id = part.lot_id and l.expires_at > clock.at
  )
  select clock.at, (live.nano + lapsed.nano + holds.nano)::bigint, holds.nano::bigint, holds.open_holds,
    coalesce(a.debt_nano, 0), (live.nano + lapsed.nano - coalesce(a.debt_nano, 0))::bigint, coalesce(a.state, 'open'),
    a.reload_below_nano, a.low_at
  from clock cross join live cross join holds cross join lapsed
  left join billing_creditaccount a on a.organization_id = p_organization
$$;

-- Where a stretch of time lies in an account's entries: they are those after p_after_seq up to p_last_seq, and what the
-- books said before and after them. Found by halving, so it costs the same however many entries there are.
create function public.credits_statement_span(
  p_organization bigint, p_start timestamptz, p_end timestamptz, out after_seq bigint, out last_seq bigint,
  out opening_nano bigint, out closing_nano bigint
)
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  v_newest bigint := coalesce((select a.last_seq from billing_creditaccount a where a.organization_id = p_organization), 0);
begin
  after_seq := credits__seq_after(p_organization, v_newest, p_start, false);
  last_seq := credits__seq_after(p_organization, v_newest, p_end, false);
  opening_nano := credits__balance_after(p_organization, after_seq);
  closing_nano := credits__balance_after(p_organization, last_seq);
end $$;

create function public.credits__balance_after(p_organization bigint, p_seq bigint) returns bigint
language sql stable as $$
  select coalesce((
    select balance_after_nano from public.billing_ledgerentry where organization_id = p_organization and seq = p_seq), 0)
$$;

-- The same for each UTC day of a stretch, without the balances.
create function public.credits_statement_days(p_organization bigint, p_start timestamptz, p_end timestamptz)
returns table (day date, after_seq bigint, last_seq bigint)
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  v_newest bigint := coalesce((select a.last_seq from billing_creditaccount a where a.organization_id = p_organization), 0);
  v_start timestamptz := p_start;
begin
  last_seq := credits__seq_after(p_organization, v_newest, p_start, false);
  while v_start < p_end and last_seq < v_newest loop
    day := (v_start at time zone 'UTC')::date;
    v_start := ((day + 1)::timestamp) at time zone 'UTC';
    after_seq := last_seq;
    last_seq := credits__seq_after(p_organization, v_newest, least(v_start, p_end), false);
    return next;
  end loop;
end $$;

-- What the organization had at an instant that is past, live credit (held included) less debt, as credits_summary said
-- then. It follows from rows that never change: the books at that instant, less what had ended by then and was booked
-- later, or is not booked yet. A charge of a hold counts from its booking, since what is held belongs to the balance;
-- only where the hold had lapsed and its lot had ended was that credit gone already, until the late capture came for it.
create function public.credits_balance_at(p_organization bigint, p_at timestamptz) returns bigint
language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  v_newest bigint := coalesce((select a.last_seq from billing_creditaccount a where a.organization_id = p_organization), 0);
begin
  return credits__balance_after(p_organization, credits__seq_after(p_organization, v_newest, p_at, true))
    + (
      select coalesce(sum(e.amount_nano), 0) from billing_ledgerentry e
      where e.organization_id = p_organization and e.booked_at > p_at and e.value_at <= p_at
        and e.value_at < e.booked_at and e.kind <> 'burn'
    ) - (
      select coalesce(sum(l.remaining_nano), 0) from credits_lots(p_organization) l
      where l.is_open and l.expires_at <= p_at
    ) - (
      select coalesce(sum(part.nano), 0)
      from billing_hold h, unnest(h.lot_ids, h.lot_amounts_nano) as part(lot_id, nano), billing_creditlot l
      where h.organization_id = p_organization and h.state = 'open' and h.expires_at <= p_at
        and l.id = part.lot_id and l.expires_at <= p_at
    ) + (
      select coalesce(sum(e.amount_nano), 0)
      from billing_hold h
      join billing_charge c on c.organization_id = h.organization_id and c.hold_id = h.id
      cross join lateral (
        select credits__seq_after(p_organization, v_newest, c.charged_at, false) as after_seq,
          credits__seq_after(p_organization, v_newest, c.charged_at, true) as last_seq
      ) place
      join billing_ledgerentry e on e.organization_id = h.organization_id and e.seq > place.after_seq
        and e.seq <= place.last_seq and e.cause_kind = 'charge' and e.cause_id = c.id and e.kind = 'burn'
        and e.value_at = h.authorized_at
      join billing_creditlot l on l.id = e.lot_id and l.expires_at <= p_at
      where h.organization_id = p_organization and h.state = 'captured' and h.settled_at > h.expires_at
        and h.settled_at > p_at and h.expires_at <= p_at
    );
end $$;

-- How many of an organization's days of usage are other than its charges and reversals make them. Changes nothing.
create function public.credits_wrong_usage_days(p_organization bigint) returns integer
language sql stable security definer set search_path = public, pg_temp as $$
  with due as materialized (select * from credits__usage_days(p_organization)),
  kept as materialized (
    select day, surface, priced_model_id, key_ref, requests, amount_nano, reversed_nano, input_units, output_units,
      cache_write_units, cache_read_units, other_units
    from billing_usageday where organization_id = p_organization
  )
  select count(distinct (day, surface, priced_model_id, key_ref))::integer from (
    (select * from due except select * from kept) union all (select * from kept except select * from due)
  ) different
$$;
