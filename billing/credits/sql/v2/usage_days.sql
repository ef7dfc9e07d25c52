-- What usage of a day adds up to, kept with each charge: by UTC day of the request's start, so that late usage counts on
-- its own day. The four usual token classes have columns of their own, because a sum of JSON costs more than the rest.
create function public.credits__add_to_day(
  p_organization bigint, p_started_at timestamptz, p_surface text, p_model bigint, p_key_ref text, p_amount bigint,
  p_input bigint, p_output bigint, p_cache_write bigint, p_cache_read bigint, p_other jsonb
) returns boolean
language plpgsql as $$
declare
  v_day date := (p_started_at at time zone 'UTC')::date;
begin
  -- Under the account's lock nobody adds the row in between, so an UPDATE that finds none may be followed by an INSERT.
  update public.billing_usageday d
  set requests = d.requests + 1, amount_nano = d.amount_nano + p_amount,
    input_units = d.input_units + coalesce(p_input, 0), output_units = d.output_units + coalesce(p_output, 0),
    cache_write_units = d.cache_write_units + coalesce(p_cache_write, 0),
    cache_read_units = d.cache_read_units + coalesce(p_cache_read, 0),
    other_units = case when p_other is null then d.other_units else public.credits__sum_units(d.other_units, p_other) end
  where d.organization_id = p_organization and d.day = v_day and d.surface = p_surface and d.priced_model_id = p_model
    and d.key_ref = p_key_ref;
  if not found then
    insert into public.billing_usageday (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,
      input_units, output_units, cache_write_units, cache_read_units, other_units)
    values (p_organization, v_day, p_surface, p_model, p_key_ref, 1, p_amount, coalesce(p_input, 0),
      coalesce(p_output, 0), coalesce(p_cache_write, 0), coalesce(p_cache_read, 0), coalesce(p_other, '{}'));
  end if;
  return true;
end $$;

-- The same for quantities of any classes.
create function public.credits__count_usage(
  p_organization bigint, p_started_at timestamptz, p_surface text, p_model bigint, p_key_ref text, p_quantities jsonb,
  p_amount bigint
) returns boolean
language plpgsql as $$
begin
  return public.credits__add_to_day(p_organization, p_started_at, p_surface, p_model, p_key_ref, p_amount,
    (p_quantities -> 'input')::bigint, (p_quantities -> 'output')::bigint, (p_quantities -> 'cache_write')::bigint,
    (p_quantities -> 'cache_read')::bigint, nullif(p_quantities - '{input,output,cache_write,cache_read}'::text[], '{}'));
end $$;

-- Units by class, added up.
create function public.credits__sum_units(p_units jsonb, p_more jsonb) returns jsonb
language plpgsql immutable as $$
begin
  if p_more = '{}' then return p_units; end if;
  return (
    select coalesce(jsonb_object_agg(key, units), '{}')
    from (
      select key, sum(value::bigint)::bigint as units
      from (select * from jsonb_each(p_units) union all select * from jsonb_each(p_more)) both_units
      group by key
    ) summed
  );
end $$;

create aggregate public.credits__units(jsonb) (
  sfunc = public.credits__sum_units, stype = jsonb, initcond = '{}'
);

-- The same for a run of charges: one row is written for each day, surface, model and key.
create function public.credits__count_usages(
  p_organization bigint, p_first integer, p_last integer, p_at timestamptz, p_surfaces text[], p_model_ids bigint[],
  p_key_refs text[], p_others jsonb[], p_started_ats timestamptz[], p_input bigint[], p_output bigint[],
  p_cache_write bigint[], p_cache_read bigint[], p_amounts bigint[]
) returns boolean
language plpgsql as $$
begin
  insert into public.billing_usageday as d (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,
    input_units, output_units, cache_write_units, cache_read_units, other_units)
  select p_organization, (coalesce(p_started_ats[i], p_at) at time zone 'UTC')::date, p_surfaces[i], p_model_ids[i],
    p_key_refs[i], count(*), sum(p_amounts[i]), coalesce(sum(p_input[i]), 0), coalesce(sum(p_output[i]), 0),
    coalesce(sum(p_cache_write[i]), 0), coalesce(sum(p_cache_read[i]), 0),
    public.credits__units(p_others[i]) filter (where p_others[i] is not null)
  from generate_series(p_first, p_last) i
  group by 2, 3, 4, 5
  on conflict (organization_id, day, surface, priced_model_id, key_ref) do update
  set requests = d.requests + excluded.requests, amount_nano = d.amount_nano + excluded.amount_nano,
    input_units = d.input_units + excluded.input_units, output_units = d.output_units + excluded.output_units,
    cache_write_units = d.cache_write_units + excluded.cache_write_units,
    cache_read_units = d.cache_read_units + excluded.cache_read_units,
    other_units = case when excluded.other_units = '{}' then d.other_units
      else public.credits__sum_units(d.other_units, excluded.other_units) end;
  return true;
end $$;

-- What the days of an organization must be, from its charges and reversals alone.
create function public.credits__usage_days(p_organization bigint) returns table (
  day date, surface character varying, priced_model_id bigint, key_ref character varying, requests bigint, amount_nano bigint,
  reversed_nano bigint, input_units bigint, output_units bigint, cache_write_units bigint, cache_read_units bigint,
  other_units jsonb
)
language sql stable as $$
  select (c.started_at at time zone 'UTC')::date, c.surface, v.priced_model_id, c.key_ref, count(*),
    sum(c.amount_nano)::bigint,
    coalesce(sum(r.nano), 0)::bigint,
    coalesce(sum((c.quantities -> 'input')::bigint), 0)::bigint,
    coalesce(sum((c.quantities -> 'output')::bigint), 0)::bigint,
    coalesce(sum((c.quantities -> 'cache_write')::bigint), 0)::bigint,
    coalesce(sum((c.quantities -> 'cache_read')::bigint), 0)::bigint,
    public.credits__units(c.quantities - '{input,output,cache_write,cache_read}'::text[])
  from public.billing_charge c
  join public.billing_priceversion v on v.id = c.price_version_id
  left join (
    select cause_id, sum(amount_nano) as nano from public.billing_reversal
    where organization_id = p_organization and cause_kind = 'charge' group by cause_id
  ) r on r.cause_id = c.id
  where c.organization_id = p_organization
  group by 1, 2, 3, 4
$$;

-- Makes an organization's days anew from its charges and reversals. Returns how many days were other than they should
-- have been: none, unless something else wrote them.
create function public.credits_rebuild_usage_days(p_organization bigint) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_wrong integer;
begin
  if (credits__lock(p_organization)).organization_id is null then return 0; end if;
  with due as materialized (select * from credits__usage_days(p_organization)),
  kept as (
    select day, surface, priced_model_id, key_ref, requests, amount_nano, reversed_nano, input_units, output_units,
      cache_write_units, cache_read_units, other_units
    from billing_usageday where organization_id = p_organization
  ),
  gone as (
    delete from billing_usageday d
    where d.organization_id = p_organization and not exists (
      select 1 from due where (due.day, due.surface, due.priced_model_id, due.key_ref)
        = (d.day, d.surface, d.priced_model_id, d.key_ref))
  ),
  made as (
    insert into billing_usageday as d (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,
      reversed_nano, input_units, output_units, cache_write_units, cache_read_units, other_units)
    select p_organization, due.* from due
    on conflict (organization_id, day, surface, priced_model_id, key_ref) do update
    set requests = excluded.requests, amount_nano = excluded.amount_nano, reversed_nano = excluded.reversed_nano,
      input_units = excluded.input_units, output_units = excluded.output_units,
      cache_write_units = excluded.cache_write_units, cache_read_units = excluded.cache_read_units,
      other_units = excluded.other_units
  )
  select count(distinct (day, surface, priced_model_id, key_ref)) into v_wrong from (
    (select * from due except select * from kept) union all (select * from kept except select * from due)
  ) different;
  return v_wrong;
end $$;
