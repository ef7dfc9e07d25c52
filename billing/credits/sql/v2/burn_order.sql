-- The order in which credit is spent, in this one place: sooner expiry first, then promotional before paid, then
-- older, then id. Preview, burn and statement all read lots through this function; the index lot_burn_order serves it.
create function public.credits_live_lots(p_organization bigint, p_at timestamptz)
returns setof public.billing_creditlot
language sql stable as $$
  select *
  from public.billing_creditlot
  where organization_id = p_organization and is_open and effective_at <= p_at and expires_at > p_at
  order by expires_at, burn_rank, effective_at, id
$$;

-- Unreserved credit that can't be spent at an instant: past its end and not yet booked, or not yet effective. Both
-- conditions are prefixes of an index, so that ten thousand live lots cost nothing here.
create function public.credits__not_live_nano(p_organization bigint, p_at timestamptz) returns bigint
language plpgsql stable as $$
begin
  return (
    select coalesce(sum(remaining_nano), 0) from public.billing_creditlot
    where organization_id = p_organization and is_open and expires_at <= p_at
  ) + (
    select coalesce(sum(remaining_nano), 0) from public.billing_creditlot
    where organization_id = p_organization and is_open and effective_at > p_at
  );
end $$;
