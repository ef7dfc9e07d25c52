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
  a := credits__lapse(a, v_now);
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
  a := credits__mark_low(a, v_now);
  is_newly_low := a.low_at is distinct from v_was_low;
  perform credits__save(a);
end $$;
