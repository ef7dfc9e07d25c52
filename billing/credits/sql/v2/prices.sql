-- The version of a model's prices in force at an instant, with what usual charges read of it; no row where there is none.
create function public.credits__price_in_force(p_model text, p_at timestamptz)
returns table (version_id bigint, model_id bigint, rates jsonb, ends_at timestamptz, input_rate bigint, output_rate bigint,
  cache_write_rate bigint, cache_read_rate bigint, request_rate bigint)
language sql stable as $$
  select v.id, m.id, v.rates, v.superseded_at, v.input_nano_per_million, v.output_nano_per_million,
    v.cache_write_nano_per_million, v.cache_read_nano_per_million, v.request_nano_per_million
  from public.billing_pricedmodel m join public.billing_priceversion v on v.priced_model_id = m.id
  where m.slug = p_model and v.effective_at <= p_at and (v.superseded_at is null or v.superseded_at > p_at)
$$;

-- Quantities as one value, of units of the four usual classes (null where a class isn't used) and of all others.
create function public.credits__quantities(
  p_input bigint, p_output bigint, p_cache_write bigint, p_cache_read bigint, p_others jsonb
) returns jsonb
language plpgsql stable as $$
declare
  v_usual jsonb := public.credits__usual_quantities(p_input, p_output, p_cache_write, p_cache_read);
begin
  return case when p_others is null then v_usual when v_usual = '{}' then p_others else v_usual || p_others end;
end $$;

-- Read from a text, which takes less than half as long as building it from its parts. A class that isn't used is left out
-- by `concat_ws`.
create function public.credits__usual_quantities(
  p_input bigint, p_output bigint, p_cache_write bigint, p_cache_read bigint
) returns jsonb
language sql stable as $$
  select ('{' || concat_ws(',', '"input":' || p_input, '"output":' || p_output, '"cache_write":' || p_cache_write,
    '"cache_read":' || p_cache_read) || '}')::jsonb
$$;

-- What units of the usual classes cost in all; null where there is no price, where a used class has no usual rate, or where
-- a number is negative or above ten million. Classes are summed exactly, then rounded up once to a nano-USD. The rate of a
-- request is its fee, for a million of them. Whole numbers of 64 bits hold every sum: 4 * 10^7 units at no more than
-- 2 * 10^11 (usual_rate). Written into what calls it: a price costs a few multiplications then, and no call.
create function public.credits__usual_cost(
  p_input bigint, p_output bigint, p_cache_write bigint, p_cache_read bigint, p_input_rate bigint, p_output_rate bigint,
  p_cache_write_rate bigint, p_cache_read_rate bigint, p_request_rate bigint
) returns bigint
language sql immutable as $$
  select case
    when greatest(p_input, p_output, p_cache_write, p_cache_read) <= 10000000
      and least(p_input, p_output, p_cache_write, p_cache_read) >= 0
    then (
      case when p_input is null then 0 else p_input * p_input_rate end
      + case when p_output is null then 0 else p_output * p_output_rate end
      + case when p_cache_write is null then 0 else p_cache_write * p_cache_write_rate end
      + case when p_cache_read is null then 0 else p_cache_read * p_cache_read_rate end
      + p_request_rate + 999999) / 1000000
  end
$$;

-- What quantities ({"input": 1200, ...}, units by token class) cost at rates ({"input": 3000000000, ...}, nano-USD for a
-- million units), whatever their classes. `missing` names a used class that has no rate; an explicit zero is a rate. A rate
-- of the class `request` adds one unit of it, the fee of each request.
create function public.credits__cost(p_rates jsonb, p_quantities jsonb, out amount_nano bigint, out missing text)
language plpgsql immutable as $$
declare
  v_sum numeric;
  v_sound boolean;
begin
  select sum(q.units * (p_rates -> q.token_class)::numeric),
    min(q.token_class) filter (where not p_rates ? q.token_class and q.units > 0),
    bool_and(coalesce(q.units between 0 and 1000000000 and q.units = trunc(q.units) and q.token_class <> 'request', false))
  into v_sum, missing, v_sound
  from (select key as token_class, value::numeric as units from jsonb_each(p_quantities)) q;
  if not v_sound then
    raise exception 'quantities must be integers from 0 to 1000000000, and their classes not the fee''s'
      using errcode = '22023';
  end if;
  -- Whole-number division: `/` of numerics keeps 16 digits or so, and would drop the last millionth of a large sum.
  amount_nano := div(coalesce(v_sum, 0) + coalesce((p_rates -> 'request')::numeric, 0) + 999999, 1000000)::bigint;
end $$;

-- The amount alone, where there is a price and nothing is missing of it; null otherwise.
create function public.credits__known_cost(p_rates jsonb, p_quantities jsonb) returns bigint
language plpgsql immutable as $$
declare
  v_cost record;
begin
  if p_rates is null then return null; end if;
  v_cost := public.credits__cost(p_rates, p_quantities);
  return case when v_cost.missing is null then v_cost.amount_nano end;
end $$;

-- Remembers usage that has no price. What was served already is a row for each key, chargeable later by an adjustment;
-- what was refused before it was served is one row for each model and class.
create function public.credits__note_unpriced(
  p_organization bigint, p_operation text, p_key text, p_model text, p_token_class text, p_surface text, p_key_ref text,
  p_quantities jsonb, p_started_at timestamptz, p_at timestamptz
) returns void
language plpgsql as $$
begin
  insert into public.billing_unpricedusage as u (organization_id, operation, idempotency_key, model, token_class, surface,
    key_ref, quantities, started_at, attempts, first_at, last_at)
  values (p_organization, p_operation, case when p_operation in ('usage', 'capture') then p_key else '' end, p_model,
    coalesce(p_token_class, ''), p_surface, p_key_ref, p_quantities, p_started_at, 1, p_at, p_at)
  on conflict (organization_id, operation, idempotency_key, model, token_class) do update
  set attempts = u.attempts + 1, surface = excluded.surface, key_ref = excluded.key_ref,
    quantities = excluded.quantities, started_at = excluded.started_at, last_at = greatest(u.last_at, excluded.last_at);
end $$;

-- The adjustment by which staff have charged unpriced usage, if they have: then its key can't be charged once more. A
-- table, which PostgreSQL writes into the query that asks whether it is empty.
create function public.credits__adjusted(p_organization bigint, p_operation text, p_key text)
returns table (adjustment_id bigint)
language sql stable as $$
  select d.id from public.billing_unpricedusage u
  join public.billing_debitadjustment d on d.unpriced_usage_id = u.id and d.organization_id = u.organization_id
  where u.organization_id = p_organization and u.operation = p_operation and u.idempotency_key = p_key
$$;
