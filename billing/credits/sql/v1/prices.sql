-- The version of a model's prices in force at an instant; null where there is none.
create function public.credits__price_version(p_model text, p_at timestamptz) returns bigint
language sql stable as $$
  select v.id
  from public.billing_priceversion v join public.billing_pricedmodel m on m.id = v.priced_model_id
  where m.slug = p_model and v.effective_at <= p_at and (v.superseded_at is null or v.superseded_at > p_at)
$$;

-- What quantities ({"input": 1200, ...}, units by token class) cost: classes are summed exactly, then rounded up once
-- to a nano-USD. `missing` names a used class that has no price; an explicit zero is a price.
create function public.credits__cost(
  p_version bigint, p_quantities jsonb, out amount_nano bigint, out missing text
)
language plpgsql stable as $$
declare
  v_sum numeric;
begin
  if exists (
    select 1 from jsonb_each_text(p_quantities) q
    where coalesce(q.value, '') !~ '^[0-9]{1,10}$' or q.value::bigint > 1000000000
  ) then
    raise exception 'quantities must be integers from 0 to 1000000000' using errcode = '22023';
  end if;
  select sum(q.value::numeric * p.price_nano_per_million),
         min(q.key) filter (where p.id is null and q.value::bigint > 0)
  into v_sum, missing
  from jsonb_each_text(p_quantities) q
  left join public.billing_price p on p.version_id = p_version and p.token_class = q.key;
  -- Whole-number division: `/` of numerics keeps 16 digits or so, and would drop the last millionth of a large sum.
  amount_nano := div(coalesce(v_sum, 0) + 999999, 1000000)::bigint;
end $$;
