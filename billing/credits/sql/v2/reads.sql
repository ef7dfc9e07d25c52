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
    from billing_creditlot l, clock
    where l.organization_id = p_organization and l.is_open and l.effective_at <= clock.at and l.expires_at > clock.at
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
