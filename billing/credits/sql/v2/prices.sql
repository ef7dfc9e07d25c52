-- The version of a model's prices in force at an instant; nulls where there is none.
create function public.credits__price_version(p_model text, p_at timestamptz, out version_id bigint, out model_id bigint)
language plpgsql stable as $$
begin
  select v.id, m.id into version_id, model_id
  from public.billing_pricedmodel m join public.billing_priceversion v on v.priced_model_id = m.id
  where m.slug = p_model and v.effective_at <= p_at and (v.superseded_at is null or v.superseded_at > p_at);
end $$;

-- What quantities ({"input": 1200, ...}, units by token class) cost: classes are summed exactly, then rounded up once
-- to a nano-USD. A version with a price for the class `request` adds one unit of it: the fee of each request.
-- `missing` names a used class that has no price; an explicit zero is a price.
create function public.credits__cost(
  p_version bigint, p_quantities jsonb, out amount_nano bigint, out missing text
)
language plpgsql stable as $$
declare
  v_sum numeric;
  v_sound boolean;
begin
  select sum(q.units * p.price_nano_per_million), min(q.token_class) filter (where p.id is null and q.units > 0),
    bool_and(coalesce(q.units between 0 and 1000000000 and q.units = trunc(q.units) and q.token_class <> 'request', false))
  into v_sum, missing, v_sound
  from (select key as token_class, value::numeric as units from jsonb_each(p_quantities)) q
  left join public.billing_price p on p.version_id = p_version and p.token_class = q.token_class;
  if not v_sound then
    raise exception 'quantities must be integers from 0 to 1000000000, and their classes not the fee''s'
      using errcode = '22023';
  end if;
  v_sum := coalesce(v_sum, 0) + coalesce(
    (select price_nano_per_million from public.billing_price where version_id = p_version and token_class = 'request'), 0);
  -- Whole-number division: `/` of numerics keeps 16 digits or so, and would drop the last millionth of a large sum.
  amount_nano := div(v_sum + 999999, 1000000)::bigint;
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
    quantities = excluded.quantities, started_at = excluded.started_at, last_at = excluded.last_at;
end $$;
