-- Many charges in one round trip and one transaction. The result always equals single calls in the given order. The
-- accounts are locked in one order, so that two batches over the same organizations can't deadlock.
--
-- The answers column by column, as the events come. Most are those of usual charges: charged, without debt, nobody to be
-- told. Of all others the places and the whole answers stand beside them.
create type public.credits_results as (
  charge_ids bigint[],  -- 0 where the answer is another one, and so are the next two
  amounts bigint[],
  availables bigint[],
  other_places integer[],  -- from 1
  others public.credits_result[]
);

-- The events column by column, sorted by organization: an array is read in a third of the time of as much JSON. Units as in
-- credits_charge: those of the usual classes as numbers (null where a class isn't used), all others in p_quantities. An
-- array that would have nothing but nulls may be empty, which reads the same.
create function public.credits_charge_many(
  p_organizations bigint[], p_operations text[], p_keys text[], p_models text[], p_surfaces text[], p_key_refs text[],
  p_quantities jsonb[], p_started_ats timestamptz[], p_input bigint[], p_output bigint[], p_cache_write bigint[],
  p_cache_read bigint[]
) returns public.credits_results
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  v_all credits_results := row('{}', '{}', '{}', '{}', '{}');
  v_part credits_results;
  v_group record;
  f integer := 1;  -- the places of its first event
  l integer;       -- and of its last one
begin
  for v_group in
    select organization as id, count(*)::integer as events from unnest(p_organizations) organization group by 1 order by 1
  loop
    l := f + v_group.events - 1;
    if v_group.id <> any (p_organizations[f:l]) then
      raise exception 'the events of a batch must be sorted by organization' using errcode = '22023';
    end if;
    if l - f + 1 = cardinality(p_organizations) then
      return credits__charge_in_order(v_group.id, p_operations, p_keys, p_models, p_surfaces, p_key_refs, p_quantities,
        p_started_ats, p_input, p_output, p_cache_write, p_cache_read);
    end if;
    v_part := credits__charge_in_order(v_group.id, p_operations[f:l], p_keys[f:l], p_models[f:l], p_surfaces[f:l],
      p_key_refs[f:l], p_quantities[f:l], p_started_ats[f:l], p_input[f:l], p_output[f:l], p_cache_write[f:l],
      p_cache_read[f:l]);
    v_all := row(v_all.charge_ids || v_part.charge_ids, v_all.amounts || v_part.amounts,
      v_all.availables || v_part.availables,
      v_all.other_places || array(select f - 1 + place from unnest(v_part.other_places) place),
      v_all.others || v_part.others);
    f := l + 1;
  end loop;
  return v_all;
end $$;

-- The events of one organization: in runs, as far as nothing but one lot is needed, the burning one or the first live one,
-- and one by one where a run ends. What ends it (a repeated key, a missing price, a lot's end, a hold that lapsed, a lack
-- of credit, the line of auto-reload) is left to the single call, so that there is one place that decides it.
--
-- All arrays have an event at the place that it has in the others.
create function public.credits__charge_in_order(
  p_organization bigint, p_operations text[], p_keys text[], p_models text[], p_surfaces text[], p_key_refs text[],
  p_quantities jsonb[], p_started_ats timestamptz[], p_input bigint[], p_output bigint[], p_cache_write bigint[],
  p_cache_read bigint[]
) returns public.credits_results
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_at timestamptz;
  v_versions bigint[]; v_models bigint[]; v_amounts bigint[]; v_are_plain boolean[];
  v_lot bigint; v_left bigint; v_available bigint; v_least bigint; v_above bigint;
  v_amount bigint; v_id bigint; v_seq bigint; v_hash bytea;
  v_ids bigint[]; v_availables bigint[]; v_seqs bigint[]; v_hashes bytea[];
  v_look_for_keys boolean := false;
  v_one public.credits_result;
  v_all public.credits_results := row('{}', '{}', '{}', '{}', '{}');
  v_done boolean;
  i integer := 1;
  n integer;
begin
  a := public.credits__lock(p_organization);
  v_at := greatest(public.credits_clock(), a.last_at);
  while i <= cardinality(p_keys) loop
    if v_are_plain is null then
      select version_ids, model_ids, amounts, are_plain into v_versions, v_models, v_amounts, v_are_plain
      from public.credits__priced_events(a, v_at, v_look_for_keys, p_operations, p_keys, p_models, p_quantities,
        p_started_ats, p_input, p_output, p_cache_write, p_cache_read);
    end if;
    n := i;
    -- A run is stamped with the instant that its events are priced at, or with that of the single call before it, unless
    -- some price has changed in between. An event without a start of its own begins when it is charged.
    a.last_at := greatest(v_at, a.last_at);
    if v_are_plain[i] and a.debt_nano = 0 and (a.last_at = v_at or not exists (
      select 1 from public.billing_priceversion
      where (effective_at > v_at and effective_at <= a.last_at) or (superseded_at > v_at and superseded_at <= a.last_at)
    )) and not (a.held_nano <> 0 and public.credits__has_lapsed(p_organization, a.last_at)) then
      if a.burning_lot_id is null or a.burning_ends_at <= a.last_at then
        a := public.credits__take_up(public.credits__put_back(a), a.last_at);
      end if;
      if a.burning_lot_id is not null then
        v_lot := a.burning_lot_id; v_left := a.burning_remaining_nano; v_available := a.unreserved_nano;
      else
        v_available := public.credits__available_nano(a, a.last_at);
        select id, remaining_nano into v_lot, v_left from public.credits_live_lots(p_organization, a.last_at) limit 1;
      end if;
      -- The lot has no more; or somebody would have to be told, of a reload that is due or that credit has run out.
      v_least := greatest(v_available - coalesce(v_left, 0),
        case when a.low_at is null then a.reload_below_nano end - a.held_nano, 1);
      v_above := a.unreserved_nano + a.held_nano - v_available;
      v_seq := a.last_seq; v_hash := a.last_hash;
      v_ids := '{}'; v_availables := '{}';
      loop
        v_amount := v_amounts[n];
        exit when (v_are_plain[n] and v_available - v_amount >= v_least) is not true;
        v_available := v_available - v_amount;
        v_id := nextval('public.billing_charge_id_seq');
        if v_amount > 0 then
          v_seq := v_seq + 1;
          v_hash := sha256(v_hash || public.credits__entry_bytes(p_organization, v_seq, 'burn', v_lot, -v_amount, 'charge',
            v_id, null, null, a.last_at, a.last_at, v_available + v_above, public.credits__charge_terms(p_keys[n])));
        end if;
        v_ids[n] := v_id;
        v_availables[n] := v_available;
        v_seqs[n] := v_seq;
        v_hashes[n] := v_hash;
        n := n + 1;
      end loop;
    end if;
    if n > i then
      begin
        v_done := public.credits__insert_charges(p_organization, i, n - 1, a.last_at, v_ids, p_operations, p_keys, v_versions,
          p_surfaces, p_key_refs, p_quantities, p_started_ats, p_input, p_output, p_cache_write, p_cache_read, v_amounts,
          v_availables);
      exception when unique_violation then
        -- Keys are nearly always new. That one isn't shows here, and from here on each is looked for.
        if v_look_for_keys then raise; end if;
        v_look_for_keys := true;
        v_are_plain := null;
        continue;
      end;
      v_done := public.credits__count_usages(p_organization, i, n - 1, a.last_at, p_surfaces, v_models, p_key_refs,
        p_quantities, p_started_ats, p_input, p_output, p_cache_write, p_cache_read, v_amounts);
      v_done := public.credits__insert_burns(p_organization, i, n - 1, a.last_at, v_lot, v_ids, v_amounts, v_seqs, v_hashes,
        v_availables, v_above);
      a := public.credits__take_run(a, v_lot, a.unreserved_nano + a.held_nano - v_above - v_available, v_seq,
        v_hash);
      v_all.charge_ids := v_all.charge_ids || v_ids;
      v_all.amounts := v_all.amounts || v_amounts[i:n - 1];
      v_all.availables := v_all.availables || v_availables;
    else
      v_one := public.credits__charge_any(p_organization, p_operations[i], p_keys[i], p_models[i], p_surfaces[i],
        p_key_refs[i], public.credits__quantities(p_input[i], p_output[i], p_cache_write[i], p_cache_read[i],
        p_quantities[i]), p_started_ats[i]);
      v_all.charge_ids := v_all.charge_ids || 0::bigint;
      v_all.amounts := v_all.amounts || 0::bigint;
      v_all.availables := v_all.availables || 0::bigint;
      v_all.other_places := v_all.other_places || i;
      v_all.others := v_all.others || v_one;
      a := public.credits__lock(p_organization);
      n := i + 1;
    end if;
    i := n;
  end loop;
  return v_all;
end $$;

-- Events as the single call would see them, in their order: with price and cost, and whether only credit decides. Where keys
-- are looked for, those that come again aren't plain.
create function public.credits__priced_events(
  a public.billing_creditaccount, p_at timestamptz, p_look_for_keys boolean, p_operations text[], p_keys text[], p_models text[],
  p_quantities jsonb[], p_started_ats timestamptz[], p_input bigint[], p_output bigint[], p_cache_write bigint[],
  p_cache_read bigint[], out version_ids bigint[], out model_ids bigint[], out amounts bigint[], out are_plain boolean[]
)
language plpgsql stable as $$
begin
  select
    array_agg(g.version_id order by g.i), array_agg(g.model_id order by g.i), array_agg(g.amount_nano order by g.i),
    array_agg(
      g.amount_nano is not null and (a.state = 'open' or g.operation = 'usage')
        and (not p_look_for_keys or array_position(p_keys, g.key) = g.i and not exists (
          select from public.billing_charge known
          where known.organization_id = a.organization_id and known.idempotency_key = g.key))
        -- A usual class among the others is counted where it belongs by the single call.
        and (g.others is null or not g.others ?| '{input,output,cache_write,cache_read}'::text[])
        and (g.started_at is null or public.credits__may_start(g.started_at, p_at))
        and (g.operation <> 'usage' or not exists (select from public.credits__adjusted(a.organization_id, 'usage', g.key)))
      order by g.i)
  into version_ids, model_ids, amounts, are_plain
  from (
    select e.*, v.id as version_id, m.id as model_id,
      case
        when e.others is not null then public.credits__known_cost(v.rates,
          public.credits__quantities(e.input, e.output, e.cache_write, e.cache_read, e.others))
        else coalesce(
          public.credits__usual_cost(e.input, e.output, e.cache_write, e.cache_read, v.input_nano_per_million,
            v.output_nano_per_million, v.cache_write_nano_per_million, v.cache_read_nano_per_million,
            v.request_nano_per_million),
          public.credits__known_cost(v.rates,
            public.credits__usual_quantities(e.input, e.output, e.cache_write, e.cache_read)))
      end as amount_nano
    from (
      select i, p_operations[i] as operation, p_keys[i] as key, p_models[i] as model, p_quantities[i] as others,
        p_started_ats[i] as started_at, p_input[i] as input, p_output[i] as output, p_cache_write[i] as cache_write,
        p_cache_read[i] as cache_read
      from generate_series(1, cardinality(p_keys)) i
      offset 0
    ) e
    left join public.billing_pricedmodel m on m.slug = e.model
    left join public.billing_priceversion v on v.priced_model_id = m.id
      and v.effective_at <= least(e.started_at, p_at)
      and (v.superseded_at is null or v.superseded_at > least(e.started_at, p_at))
    offset 0
  ) g;
end $$;

-- The charges of a run, from one place to another. Those that don't tell when they began begin when they are charged.
create function public.credits__insert_charges(
  p_organization bigint, p_first integer, p_last integer, p_at timestamptz, p_ids bigint[], p_operations text[],
  p_keys text[], p_versions bigint[], p_surfaces text[], p_key_refs text[], p_quantities jsonb[],
  p_started_ats timestamptz[], p_input bigint[], p_output bigint[], p_cache_write bigint[], p_cache_read bigint[],
  p_amounts bigint[], p_availables bigint[]
) returns boolean
language plpgsql as $$
begin
  insert into public.billing_charge (id, organization_id, idempotency_key, operation, price_version_id,
    surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  select p_ids[i], p_organization, p_keys[i], p_operations[i], p_versions[i], p_surfaces[i], p_key_refs[i],
    case
      when p_quantities[i] is null
      then public.credits__usual_quantities(p_input[i], p_output[i], p_cache_write[i], p_cache_read[i])
      else public.credits__quantities(p_input[i], p_output[i], p_cache_write[i], p_cache_read[i], p_quantities[i])
    end,
    p_amounts[i], 0, p_availables[i], coalesce(p_started_ats[i], p_at), p_at
  from generate_series(p_first, p_last) i;
  return true;
end $$;

-- Their entries. A charge of nothing has none.
create function public.credits__insert_burns(
  p_organization bigint, p_first integer, p_last integer, p_at timestamptz, p_lot bigint, p_charge_ids bigint[],
  p_amounts bigint[], p_seqs bigint[], p_hashes bytea[], p_availables bigint[], p_above bigint
) returns boolean
language plpgsql as $$
begin
  insert into public.billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id,
    value_at, booked_at, balance_after_nano, hash)
  select p_organization, p_seqs[i], 'burn', p_lot, -p_amounts[i], 'charge', p_charge_ids[i], p_at, p_at,
    p_availables[i] + p_above, p_hashes[i]
  from generate_series(p_first, p_last) i
  where p_amounts[i] > 0;
  return true;
end $$;

-- Takes what a run used from its lot and from the account, and saves the account with its new head.
create function public.credits__take_run(
  a public.billing_creditaccount, p_lot bigint, p_total bigint, p_seq bigint, p_hash bytea
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_done boolean;
begin
  a.unreserved_nano := a.unreserved_nano - p_total;
  a.last_seq := p_seq;
  a.last_hash := p_hash;
  if p_lot = a.burning_lot_id then
    a.burning_remaining_nano := a.burning_remaining_nano - p_total;
    if a.burning_remaining_nano = 0 then a := public.credits__put_back(a); end if;
  elsif p_total > 0 then
    update public.billing_creditlot set remaining_nano = remaining_nano - p_total where id = p_lot;
  end if;
  v_done := public.credits__save(a);
  return a;
end $$;
