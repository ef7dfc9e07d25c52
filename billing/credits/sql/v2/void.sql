-- Gives a hold back whole: a failed request costs nothing. Voiding twice is voiding once.
create function public.credits_void(p_organization bigint, p_hold bigint) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  h billing_hold;
  v_now timestamptz;
  v_was_low timestamptz;
  v_done boolean;
begin
  v_done := credits__queue(p_organization);
  a := credits__lock(p_organization);
  if a.organization_id is null then return credits__refused('organization_unknown'); end if;
  select * into h from billing_hold where organization_id = p_organization and id = p_hold;
  if not found then return credits__refused('hold_unknown'); end if;
  if h.state = 'captured' then return credits__refused('already_captured'); end if;
  a := credits__stamp(a);
  v_now := a.last_at;
  v_was_low := a.low_at;
  a := credits__catch_up_burning(a, v_now, h.id);
  if h.state = 'voided' then
    return row('replayed', h.id, null, h.amount_nano, 0, credits__available_nano(a, v_now), null,
      a.low_at is distinct from v_was_low, null)::credits_result;
  end if;
  if h.state = 'open' then
    a := credits__give_back(a, h.lot_ids, h.lot_amounts_nano, h, v_now);
    a := credits__pay_debt(a, 'hold', h.id, v_now);
  end if;
  update billing_hold set state = 'voided', settled_at = v_now where id = h.id;
  a := credits__note_level(a, v_now, credits__available_nano(a, v_now));
  v_done := credits__save(a);
  return row('voided', h.id, null, h.amount_nano, 0, credits__available_nano(a, v_now), null,
    a.low_at is distinct from v_was_low, null)::credits_result;
end $$;
