-- The order in which credit is spent, in this one place: sooner expiry first, then promotional before paid, then
-- older, then id. Preview, burn and statement all read lots through it; the index lot_burn_order serves it.
create function public.credits__open_lots(p_organization bigint)
returns setof public.billing_creditlot
language sql stable as $$
  select *
  from public.billing_creditlot
  where organization_id = p_organization and is_open
  order by expires_at, burn_rank, effective_at, id
$$;

create function public.credits_live_lots(p_organization bigint, p_at timestamptz)
returns setof public.billing_creditlot
language sql stable as $$
  select * from public.credits__open_lots(p_organization) where effective_at <= p_at and expires_at > p_at
$$;

-- Unreserved credit that can't be spent at an instant: past its end and not yet booked. It is a prefix of the index, so
-- that ten thousand live lots cost nothing here. A lot is effective from its grant, so an operation sees none that is not
-- yet.
create function public.credits__ended_nano(p_organization bigint, p_at timestamptz) returns bigint
language plpgsql stable as $$
begin
  return (
    select coalesce(sum(remaining_nano), 0) from public.billing_creditlot
    where organization_id = p_organization and is_open and expires_at <= p_at
  );
end $$;
