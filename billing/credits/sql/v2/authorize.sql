-- Puts credit aside for a request before it is served. A refusal does not burn its key.
create function public.credits_authorize(
  p_organization bigint, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb, p_ttl_seconds integer
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  v_hold public.billing_hold;
  v_fingerprint bytea := credits__fingerprint('authorize', p_key, p_model, p_surface, p_key_ref, p_quantities, p_ttl_seconds::text);
  v_now timestamptz;
  v_price record;
  v_cost record;
  v_available bigint;
  v_taken record;
  v_was_low timestamptz;
  v_done boolean;
begin
  v_done := credits__queue(p_organization);
  a := credits__lock(p_organization);
  if a.organization_id is null then return credits__refused('organization_unknown'); end if;
  select * into v_hold from billing_hold where organization_id = p_organization and idempotency_key = p_key;
  if found then
    return row(case when v_hold.fingerprint = v_fingerprint then 'replayed' else 'conflict' end, v_hold.id, null,
      v_hold.amount_nano, 0, v_hold.available_after_nano, v_hold.expires_at, false, null)::credits_result;
  end if;
  if a.state <> 'open' then return credits__refused('organization_suspended'); end if;
  if p_ttl_seconds not between 1 and 3600 then
    raise exception 'a hold lasts from 1 second to 60 minutes' using errcode = '22023';
  end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  v_was_low := a.low_at;
  if a.held_nano <> 0 or a.burning_ends_at <= v_now then a := credits__catch_up_burning(a, v_now); end if;
  select * into v_price from credits__price_in_force(p_model, v_now);
  v_cost := credits__cost(v_price.rates, p_quantities);
  if v_price.version_id is null or v_cost.missing is not null then
    perform credits__note_unpriced(p_organization, 'authorize', p_key, p_model,
      case when v_price.version_id is not null then v_cost.missing end, p_surface, p_key_ref, p_quantities, v_now, v_now);
    return credits__refused('price_missing', p_detail =>
      case when v_price.version_id is null then p_model else v_cost.missing end,
      p_is_newly_low => a.low_at is distinct from v_was_low);
  end if;
  v_available := credits__available_nano(a, v_now);
  -- Nothing available refuses a request of any size, so that an organization without credit can't start a free one.
  if v_available < v_cost.amount_nano or v_available <= 0 then
    return credits__refuse(a, v_now, v_cost.amount_nano, v_available, v_was_low);
  end if;
  v_taken := credits__take_burning_first(a, v_cost.amount_nano, v_now);
  a := v_taken.account;
  if v_taken.taken <> v_cost.amount_nano then raise exception 'lots of organization % do not cover their sum', p_organization; end if;
  a.unreserved_nano := a.unreserved_nano - v_taken.taken;
  a.held_nano := a.held_nano + v_taken.taken;
  insert into billing_hold (organization_id, idempotency_key, fingerprint, state, amount_nano, lot_ids, lot_amounts_nano,
    price_version_id, surface, key_ref, quantities, started_at, authorized_at, expires_at, available_after_nano)
  values (p_organization, p_key, v_fingerprint, 'open', v_cost.amount_nano, v_taken.lot_ids, v_taken.lot_amounts,
    v_price.version_id, p_surface, p_key_ref, p_quantities, v_now, v_now, v_now + make_interval(secs => p_ttl_seconds),
    v_available - v_cost.amount_nano)
  returning id, amount_nano, available_after_nano, expires_at
  into v_hold.id, v_hold.amount_nano, v_hold.available_after_nano, v_hold.expires_at;
  v_done := credits__save(a);
  return row('authorized', v_hold.id, null, v_hold.amount_nano, 0, v_hold.available_after_nano, v_hold.expires_at,
    a.low_at is distinct from v_was_low, null)::credits_result;
end $$;
