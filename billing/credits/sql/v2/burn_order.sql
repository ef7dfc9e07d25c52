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

-- The lot that usual charges burn has its remainder in the account's row, and nowhere else: what its own row says is as
-- old as the moment it was taken up. Operations that go by lots begin with credits__put_back; who only reads, reads
-- credits_lots.
--
-- Not stable, though it only reads: a stable function sees what its caller's statement saw, and so would miss a remainder
-- that the same statement has put back.
create function public.credits__take_up(a public.billing_creditaccount, p_at timestamptz)
returns public.billing_creditaccount
language plpgsql as $$
begin
  select id, remaining_nano, expires_at into a.burning_lot_id, a.burning_remaining_nano, a.burning_ends_at
  from public.credits__open_lots(a.organization_id) limit 1;
  -- A lot past its end that is not booked yet still counts in the account's sum, so usual charges have to wait for that.
  if a.burning_ends_at <= p_at then
    a.burning_lot_id := null; a.burning_remaining_nano := null; a.burning_ends_at := null;
  end if;
  return a;
end $$;

-- Writes the burning lot's remainder into its row. The account in the result has no burning lot, but its row keeps it
-- until it is saved: an operation that ends without saving has changed nothing.
create function public.credits__put_back(a public.billing_creditaccount) returns public.billing_creditaccount
language plpgsql as $$
begin
  if a.burning_lot_id is null then return a; end if;
  update public.billing_creditlot set remaining_nano = a.burning_remaining_nano where id = a.burning_lot_id;
  a.burning_lot_id := null; a.burning_remaining_nano := null; a.burning_ends_at := null;
  return a;
end $$;

-- The same for many accounts, whose rows the caller has locked.
create function public.credits__put_back_all(p_organizations bigint[]) returns void
language plpgsql as $$
begin
  update public.billing_creditlot l set remaining_nano = a.burning_remaining_nano
  from public.billing_creditaccount a
  where a.organization_id = any (p_organizations) and l.id = a.burning_lot_id;
  update public.billing_creditaccount
  set burning_lot_id = null, burning_remaining_nano = null, burning_ends_at = null
  where organization_id = any (p_organizations) and burning_lot_id is not null;
end $$;

-- An organization's lots with what is left of them, for those who read without the lock.
create function public.credits_lots(p_organization bigint)
returns table (
  id bigint, kind character varying, label character varying, granted_nano bigint, remaining_nano bigint, is_open boolean,
  effective_at timestamptz, expires_at timestamptz, burn_rank smallint, purchase_id bigint
)
language sql stable as $$
  select l.id, l.kind, l.label, l.granted_nano,
    case when l.id = a.burning_lot_id then a.burning_remaining_nano else l.remaining_nano end,
    l.is_open, l.effective_at, l.expires_at, l.burn_rank, l.purchase_id
  from public.billing_creditlot l left join public.billing_creditaccount a on a.organization_id = l.organization_id
  where l.organization_id = p_organization
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
