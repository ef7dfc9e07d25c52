-- Any authorization at all, step by step.
create function public.credits__authorize_any(
  p_organization bigint, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb, p_ttl_seconds integer
) returns public.credits_result
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_hold record;
  v_now timestamptz;
  v_price record;
  v_cost record;
  v_available bigint;
  v_taken record;
  v_was_low timestamptz;
  v_done boolean;
begin
  a := public.credits__lock(p_organization);
  if a.organization_id is null then return public.credits__refused('organization_unknown'); end if;
  -- A repeat asks for what the row says.
  select h.id, h.amount_nano, h.available_after_nano, h.expires_at,
    (m.slug, h.surface, h.key_ref, h.quantities, h.expires_at) is not distinct from
      (p_model, p_surface, p_key_ref, p_quantities, h.authorized_at + make_interval(secs => p_ttl_seconds)) as is_repeat
  into v_hold
  from public.billing_hold h
  join public.billing_priceversion v on v.id = h.price_version_id join public.billing_pricedmodel m on m.id = v.priced_model_id
  where h.organization_id = p_organization and h.idempotency_key = p_key;
  if found then
    return row(case when v_hold.is_repeat then 'replayed' else 'conflict' end, v_hold.id, null,
      v_hold.amount_nano, 0, v_hold.available_after_nano, v_hold.expires_at, false, null)::public.credits_result;
  end if;
  if a.state <> 'open' then return public.credits__refused('organization_suspended'); end if;
  if p_ttl_seconds not between 1 and 3600 then
    raise exception 'a hold lasts from 1 second to 60 minutes' using errcode = '22023';
  end if;
  v_now := greatest(public.credits_clock(), a.last_at);
  a.last_at := v_now;
  v_was_low := a.low_at;
  if a.held_nano <> 0 or a.burning_ends_at <= v_now then a := public.credits__catch_up_burning(a, v_now); end if;
  select * into v_price from public.credits__price_in_force(p_model, v_now);
  v_cost := public.credits__cost(v_price.rates, p_quantities);
  if v_price.version_id is null or v_cost.missing is not null then
    perform public.credits__note_unpriced(p_organization, 'authorize', p_key, p_model,
      case when v_price.version_id is not null then v_cost.missing end, p_surface, p_key_ref, p_quantities, v_now, v_now);
    return public.credits__refused('price_missing', p_detail =>
      case when v_price.version_id is null then p_model else v_cost.missing end,
      p_is_newly_low => a.low_at is distinct from v_was_low);
  end if;
  v_available := public.credits__available_nano(a, v_now);
  -- Nothing available refuses a request of any size, so that an organization without credit can't start a free one.
  if v_available < v_cost.amount_nano or v_available <= 0 then
    return public.credits__refuse(a, v_now, v_cost.amount_nano, v_available, v_was_low);
  end if;
  v_taken := public.credits__take_burning_first(a, v_cost.amount_nano, v_now);
  a := v_taken.account;
  if v_taken.taken <> v_cost.amount_nano then raise exception 'lots of organization % do not cover their sum', p_organization; end if;
  a.unreserved_nano := a.unreserved_nano - v_taken.taken;
  a.held_nano := a.held_nano + v_taken.taken;
  insert into public.billing_hold (organization_id, idempotency_key, state, amount_nano, lot_ids, lot_amounts_nano,
    price_version_id, surface, key_ref, quantities, started_at, authorized_at, expires_at, available_after_nano)
  values (p_organization, p_key, 'open', v_cost.amount_nano, v_taken.lot_ids, v_taken.lot_amounts,
    v_price.version_id, p_surface, p_key_ref, p_quantities, v_now, v_now, v_now + make_interval(secs => p_ttl_seconds),
    v_available - v_cost.amount_nano)
  returning id, amount_nano, available_after_nano, expires_at into v_hold;
  v_done := public.credits__save(a);
  return row('authorized', v_hold.id, null, v_hold.amount_nano, 0, v_hold.available_after_nano, v_hold.expires_at,
    a.low_at is distinct from v_was_low, null)::public.credits_result;
end $$;

-- Puts credit aside for a request before it is served. A refusal does not burn its key.
--
-- Nearly every one is the usual one, and written as the usual charge is (charge.sql): a new key, an open account without
-- debt, a price, a burning lot that covers it and keeps some. Nothing is spent yet, so the level of auto-reload stays as it
-- is and nobody has to be told. Of anything else nothing has been written, and credits__authorize_any decides it.
create function public.credits_authorize(
  p_organization bigint, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb, p_ttl_seconds integer,
  p_input bigint default null, p_output bigint default null, p_cache_write bigint default null, p_cache_read bigint default null
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_quantities jsonb := credits__usual_quantities(p_input, p_output, p_cache_write, p_cache_read);
  v_asked_at timestamptz; v_now timestamptz; v_expires_at timestamptz;
  v_version bigint; v_price_ends_at timestamptz; v_is_known boolean;
  v_input bigint; v_output bigint; v_cache_write bigint; v_cache_read bigint; v_request bigint;  -- rates
  v_amount bigint; v_available bigint; v_lot_ends_at timestamptz; v_id bigint; v_done boolean;
begin
  <<usual>>
  begin
    exit usual when p_quantities is not null;
    v_asked_at := credits_clock();
    select version_id, ends_at, input_rate, output_rate, cache_write_rate, cache_read_rate, request_rate,
      exists (select from billing_hold where organization_id = p_organization and idempotency_key = p_key)
    into v_version, v_price_ends_at, v_input, v_output, v_cache_write, v_cache_read, v_request, v_is_known
    from credits__price_in_force(p_model, v_asked_at);
    v_amount := credits__usual_cost(p_input, p_output, p_cache_write, p_cache_read, v_input, v_output, v_cache_write,
      v_cache_read, v_request);
    exit usual when (v_amount > 0 and not v_is_known and p_ttl_seconds between 1 and 3600) is not true;
    v_done := credits__queue(p_organization);
    v_now := greatest(credits_clock(), v_asked_at);
    exit usual when v_now >= v_price_ends_at;
    v_expires_at := v_now + make_interval(secs => p_ttl_seconds);
    v_id := nextval('billing_hold_id_seq');
    with reserved as (
      update billing_creditaccount a
      set last_at = v_now, held_nano = a.held_nano + v_amount, unreserved_nano = a.unreserved_nano - v_amount,
        burning_remaining_nano = a.burning_remaining_nano - v_amount
      where a.organization_id = p_organization and a.state = 'open' and a.debt_nano = 0 and a.last_at <= v_now
        and a.burning_remaining_nano > v_amount and a.burning_ends_at > v_now
        and (a.held_nano = 0 or not credits__has_lapsed(p_organization, v_now))
      returning a.burning_lot_id as lot_id, a.burning_ends_at as lot_ends_at, a.unreserved_nano as available_nano
    ),
    held as (
      insert into billing_hold (id, organization_id, idempotency_key, state, amount_nano, lot_ids,
        lot_amounts_nano, price_version_id, surface, key_ref, quantities, started_at, authorized_at, expires_at,
        available_after_nano)
      select v_id, p_organization, p_key, 'open', v_amount, array[lot_id],
        array[v_amount], v_version, p_surface, p_key_ref, v_quantities, v_now, v_now, v_expires_at, available_nano
      from reserved
    )
    select available_nano, lot_ends_at into v_available, v_lot_ends_at from reserved;
    exit usual when not found;
    if v_lot_ends_at <= credits_clock() then
      raise exception 'the lot ended while the authorization waited' using errcode = '40001';
    end if;
    return row('authorized', v_id, null, v_amount, 0, v_available, v_expires_at, false, null)::credits_result;
  end usual;
  return credits__authorize_any(p_organization, p_key, p_model, p_surface, p_key_ref,
    credits__quantities(p_input, p_output, p_cache_write, p_cache_read, p_quantities), p_ttl_seconds);
end $$;
