-- The version of a model's prices in force at an instant; no row where there is none.
create function public.credits__price_in_force(p_model text, p_at timestamptz)
returns table (version_id bigint, model_id bigint, rates jsonb, ends_at timestamptz)
language sql stable as $$
  select v.id, m.id, v.rates, v.superseded_at
  from public.billing_pricedmodel m join public.billing_priceversion v on v.priced_model_id = m.id
  where m.slug = p_model and v.effective_at <= p_at and (v.superseded_at is null or v.superseded_at > p_at)
$$;

-- What quantities of the usual classes cost; null where there is no price, where some class is another or has no rate, or
-- where a number is not whole or too large. Classes are summed exactly, then rounded up once to a nano-USD. A rate of the
-- class `request` adds one unit of it, the fee of each request.
create function public.credits__usual_cost(p_rates jsonb, p_quantities jsonb) returns bigint
language plpgsql immutable as $$
declare
  v_text text := p_quantities::text;
  v_input bigint; v_output bigint; v_cache_write bigint; v_cache_read bigint;
begin
  -- Whole is what has no point, no sign and is not null. (What is no number at all is refused where it is read.) A pattern
  -- would say so more plainly, and cost more than all the rest.
  if p_rates is null or p_quantities - '{input,output,cache_write,cache_read}'::text[] <> '{}'
    or strpos(v_text, '.') > 0 or strpos(v_text, '-') > 0 or strpos(v_text, 'll') > 0
  then
    return null;
  end if;
  v_input := p_quantities -> 'input';
  v_output := p_quantities -> 'output';
  v_cache_write := p_quantities -> 'cache_write';
  v_cache_read := p_quantities -> 'cache_read';
  if greatest(v_input, v_output, v_cache_write, v_cache_read) > 1000000000 then return null; end if;
  -- Whole-number division: `/` of numerics keeps 16 digits or so, and would drop the last millionth of a large sum.
  return div(
    case when v_input > 0 then v_input * (p_rates -> 'input')::numeric else 0 end
    + case when v_output > 0 then v_output * (p_rates -> 'output')::numeric else 0 end
    + case when v_cache_write > 0 then v_cache_write * (p_rates -> 'cache_write')::numeric else 0 end
    + case when v_cache_read > 0 then v_cache_read * (p_rates -> 'cache_read')::numeric else 0 end
    + coalesce((p_rates -> 'request')::numeric, 0) + 999999, 1000000);
end $$;

-- What quantities ({"input": 1200, ...}, units by token class) cost at rates ({"input": 3000000000, ...}, nano-USD for a
-- million units), whatever their classes. `missing` names a used class that has no rate; an explicit zero is a rate.
create function public.credits__cost(p_rates jsonb, p_quantities jsonb, out amount_nano bigint, out missing text)
language plpgsql immutable as $$
declare
  v_sum numeric;
  v_sound boolean;
begin
  amount_nano := public.credits__usual_cost(p_rates, p_quantities);
  if amount_nano is not null then return; end if;
  select sum(q.units * (p_rates -> q.token_class)::numeric),
    min(q.token_class) filter (where not p_rates ? q.token_class and q.units > 0),
    bool_and(coalesce(q.units between 0 and 1000000000 and q.units = trunc(q.units) and q.token_class <> 'request', false))
  into v_sum, missing, v_sound
  from (select key as token_class, value::numeric as units from jsonb_each(p_quantities)) q;
  if not v_sound then
    raise exception 'quantities must be integers from 0 to 1000000000, and their classes not the fee''s'
      using errcode = '22023';
  end if;
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

-- Whether staff have charged unpriced usage by an adjustment: then its key can't be charged once more.
create function public.credits__was_adjusted(p_organization bigint, p_operation text, p_key text) returns boolean
language plpgsql stable as $$
begin
  return exists (
    select 1 from public.billing_unpricedusage u
    join public.billing_debitadjustment d on d.unpriced_usage_id = u.id and d.organization_id = u.organization_id
    where u.organization_id = p_organization and u.operation = p_operation and u.idempotency_key = p_key
  );
end $$;
