-- When usage may have begun: late reports count on their own day, and a clock at the gateway may be a little ahead.
create function public.credits__may_start(p_started_at timestamptz, p_at timestamptz) returns boolean
language plpgsql immutable as $$
begin
  return p_started_at between p_at - interval '35 days' and p_at + interval '5 minutes';
end $$;

-- Any charge at all, step by step.
create function public.credits__charge_any(
  p_organization bigint, p_operation text, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb,
  p_started_at timestamptz
) returns public.credits_result
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_charge record;
  v_now timestamptz;
  v_started_at timestamptz;
  v_price record;
  v_cost record;
  v_available bigint;
  v_taken record;
  v_debt bigint;
  v_was_low timestamptz;
  v_id bigint;
  v_done boolean;
begin
  a := public.credits__lock(p_organization);
  if a.organization_id is null then return public.credits__refused('organization_unknown'); end if;
  -- A repeat asks for what the row says; without a start it began when it was charged.
  select c.id, c.amount_nano, c.debt_nano, c.available_after_nano,
    (c.operation, m.slug, c.surface, c.key_ref, c.quantities, c.started_at) is not distinct from
      (p_operation, p_model, p_surface, p_key_ref, p_quantities, coalesce(p_started_at, c.charged_at)) as is_repeat
  into v_charge
  from public.billing_charge c
  join public.billing_priceversion v on v.id = c.price_version_id join public.billing_pricedmodel m on m.id = v.priced_model_id
  where c.organization_id = p_organization and c.idempotency_key = p_key;
  if found then
    return row(case when v_charge.is_repeat then 'replayed' else 'conflict' end, null, v_charge.id,
      v_charge.amount_nano, v_charge.debt_nano, v_charge.available_after_nano, null, false, null)::public.credits_result;
  end if;
  if p_operation = 'usage' and exists (select from public.credits__adjusted(p_organization, 'usage', p_key)) then
    return public.credits__refused('conflict');
  end if;
  if a.state <> 'open' and p_operation = 'charge' then return public.credits__refused('organization_suspended'); end if;
  v_now := greatest(public.credits_clock(), a.last_at);
  a.last_at := v_now;
  v_started_at := coalesce(p_started_at, v_now);
  if not public.credits__may_start(v_started_at, v_now) then
    return public.credits__refused('occurred_at_out_of_range');
  end if;
  v_was_low := a.low_at;
  a := public.credits__catch_up(a, v_now);
  -- A start that is still to come has the price that is in force already.
  select * into v_price from public.credits__price_in_force(p_model, least(v_started_at, v_now));
  v_cost := public.credits__cost(v_price.rates, p_quantities);
  if v_price.version_id is null or v_cost.missing is not null then
    perform public.credits__note_unpriced(p_organization, p_operation, p_key, p_model,
      case when v_price.version_id is not null then v_cost.missing end, p_surface, p_key_ref, p_quantities,
      v_started_at, v_now);
    return public.credits__refused('price_missing', p_detail =>
      case when v_price.version_id is null then p_model else v_cost.missing end,
      p_is_newly_low => a.low_at is distinct from v_was_low);
  end if;
  v_available := public.credits__available_nano(a, v_now);
  if p_operation = 'charge' and (v_available < v_cost.amount_nano or v_available <= 0) then
    return public.credits__refuse(a, v_now, v_cost.amount_nano, v_available, v_was_low);
  end if;
  v_taken := public.credits__take(p_organization, v_cost.amount_nano, v_now);
  v_debt := v_cost.amount_nano - v_taken.taken;
  if v_debt > 0 and p_operation = 'charge' then raise exception 'lots of organization % do not cover their sum', p_organization; end if;
  insert into public.billing_charge (organization_id, idempotency_key, operation, price_version_id, surface, key_ref,
    quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  values (p_organization, p_key, p_operation, v_price.version_id, p_surface, p_key_ref,
    p_quantities, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, v_started_at, v_now)
  returning id into v_id;
  v_done := public.credits__count_usage(p_organization, v_started_at, p_surface, v_price.model_id, p_key_ref, p_quantities,
    v_cost.amount_nano);
  a := public.credits__book_taken(a, 'burn', v_taken.lot_ids, v_taken.lot_amounts, 'charge', v_id, v_now, v_now,
    p_terms => public.credits__charge_terms(p_key));
  a := public.credits__owe(a, 'overshoot', v_debt, 'charge', v_id, v_now, p_terms => public.credits__charge_terms(p_key));
  a := public.credits__note_level(a, v_now, v_available - v_cost.amount_nano);
  a := public.credits__take_up(a, v_now);
  v_done := public.credits__save(a);
  return row('charged', null, v_id, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, null,
    a.low_at is distinct from v_was_low, null)::public.credits_result;
end $$;

-- Charges usage at once. `charge` is refused when credit lacks; `usage` reports work already served and is charged in
-- full, the shortfall being debt. The charge row is the record of its key, for ever.
--
-- Nearly every charge is the usual one: a new key, an open account without debt, a price, a burning lot that covers it and
-- keeps some, nobody to be told. All that it writes is one statement, whose UPDATE both locks the account and decides, by
-- what the row holds after the wait, whether the charge is a usual one. What the statement reads of other tables is as it
-- was before the wait, so an account that was stamped meanwhile is none for it. Of anything else nothing has been written,
-- and credits__charge_any decides it.
--
-- Two things show only afterwards, and end the call; whoever called asks again. The key is looked for with the price, before
-- the wait: who brings the same one at the same moment finds it taken (23505). And the lot may end during the wait (40001).
--
-- The units of the usual classes come as numbers of their own (null where a class isn't used), all others in p_quantities.
create function public.credits_charge(
  p_organization bigint, p_operation text, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb,
  p_started_at timestamptz, p_input bigint default null, p_output bigint default null, p_cache_write bigint default null,
  p_cache_read bigint default null
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_quantities jsonb := credits__usual_quantities(p_input, p_output, p_cache_write, p_cache_read);
  v_asked_at timestamptz; v_now timestamptz; v_started_at timestamptz;
  v_version bigint; v_model bigint; v_price_ends_at timestamptz; v_is_known boolean;
  v_input bigint; v_output bigint; v_cache_write bigint; v_cache_read bigint; v_request bigint;  -- rates
  v_amount bigint; v_available bigint; v_lot_ends_at timestamptz; v_id bigint; v_done boolean;
begin
  <<usual>>
  begin
    -- What needs no lock comes first, so that others don't wait for it.
    exit usual when p_quantities is not null;
    v_asked_at := credits_clock();
    select version_id, model_id, ends_at, input_rate, output_rate, cache_write_rate, cache_read_rate, request_rate,
      exists (select from billing_charge where organization_id = p_organization and idempotency_key = p_key)
    into v_version, v_model, v_price_ends_at, v_input, v_output, v_cache_write, v_cache_read, v_request, v_is_known
    from credits__price_in_force(p_model, coalesce(p_started_at, v_asked_at));
    v_amount := credits__usual_cost(p_input, p_output, p_cache_write, p_cache_read, v_input, v_output, v_cache_write,
      v_cache_read, v_request);
    exit usual when (v_amount > 0 and not v_is_known) is not true;
    v_done := credits__queue(p_organization);
    if p_operation = 'usage' then
      -- Staff may be charging the same usage by an adjustment, and don't line up either.
      perform from billing_creditaccount where organization_id = p_organization for no key update;
      exit usual when exists (select from credits__adjusted(p_organization, 'usage', p_key));
    end if;
    v_now := greatest(credits_clock(), v_asked_at);
    v_started_at := coalesce(p_started_at, v_now);
    exit usual when v_started_at > v_now or v_started_at >= v_price_ends_at;
    if p_started_at is not null then
      exit usual when not credits__may_start(p_started_at, v_now);
    end if;
    v_id := nextval('billing_charge_id_seq');
    with paid as (
      update billing_creditaccount a
      set last_at = v_now, last_seq = a.last_seq + 1,
        last_hash = sha256(a.last_hash || credits__entry_bytes(p_organization, a.last_seq + 1, 'burn', a.burning_lot_id,
          -v_amount, 'charge', v_id, null, null, v_now, v_now, a.unreserved_nano + a.held_nano - v_amount,
          credits__charge_terms(p_key))),
        unreserved_nano = a.unreserved_nano - v_amount, burning_remaining_nano = a.burning_remaining_nano - v_amount
      where a.organization_id = p_organization and a.state = 'open' and a.debt_nano = 0 and a.last_at <= v_now
        and a.burning_remaining_nano > v_amount and a.burning_ends_at > v_now
        and (a.low_at is not null or a.reload_below_nano is null
          or a.unreserved_nano + a.held_nano - v_amount >= a.reload_below_nano)
        and (a.held_nano = 0 or not credits__has_lapsed(p_organization, v_now))
      returning a.last_seq as seq, a.last_hash as hash, a.burning_lot_id as lot_id, a.burning_ends_at as lot_ends_at,
        a.unreserved_nano as available_nano, a.unreserved_nano + a.held_nano as balance_nano
    ),
    charged as (
      insert into billing_charge (id, organization_id, idempotency_key, operation, price_version_id, surface,
        key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
      select v_id, p_organization, p_key, p_operation, v_version, p_surface,
        p_key_ref, v_quantities, v_amount, 0, available_nano, v_started_at, v_now
      from paid
    ),
    entered as (
      insert into billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id, value_at,
        booked_at, balance_after_nano, hash)
      select p_organization, seq, 'burn', lot_id, -v_amount, 'charge', v_id, v_now, v_now, balance_nano, hash
      from paid
    ),
    counted as (
      insert into billing_usageday as d (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,
        input_units, output_units, cache_write_units, cache_read_units, other_units)
      select p_organization, (v_started_at at time zone 'UTC')::date, p_surface, v_model, p_key_ref, 1, v_amount,
        coalesce(p_input, 0), coalesce(p_output, 0), coalesce(p_cache_write, 0), coalesce(p_cache_read, 0), '{}'
      from paid
      on conflict (organization_id, day, surface, priced_model_id, key_ref) do update
      set requests = d.requests + 1, amount_nano = d.amount_nano + excluded.amount_nano,
        input_units = d.input_units + excluded.input_units, output_units = d.output_units + excluded.output_units,
        cache_write_units = d.cache_write_units + excluded.cache_write_units,
        cache_read_units = d.cache_read_units + excluded.cache_read_units
    )
    select available_nano, lot_ends_at into v_available, v_lot_ends_at from paid;
    exit usual when not found;
    if v_lot_ends_at <= credits_clock() then
      raise exception 'the lot ended while the charge waited' using errcode = '40001';
    end if;
    return row('charged', null, v_id, v_amount, 0, v_available, null, false, null)::credits_result;
  end usual;
  return credits__charge_any(p_organization, p_operation, p_key, p_model, p_surface, p_key_ref,
    credits__quantities(p_input, p_output, p_cache_write, p_cache_read, p_quantities), p_started_at);
end $$;
