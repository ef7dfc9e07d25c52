-- Many charges in one round trip and one transaction. The result always equals single calls in the given order. The
-- accounts are locked in one order, so that two batches over the same organizations can't deadlock.
create type public.credits__event as (
  operation text,
  key text,
  model text,
  surface text,
  key_ref text,
  quantities jsonb,
  input bigint,           -- the units of the usual classes once more, as numbers
  output bigint,
  cache_write bigint,
  cache_read bigint,
  others jsonb,           -- quantities of all other classes; null where there are none
  started_at timestamptz  -- as given
);

-- The events column by column: an array is read in a third of the time of as much JSON.
create function public.credits_charge_many(
  p_organizations bigint[], p_operations text[], p_keys text[], p_models text[], p_surfaces text[], p_key_refs text[],
  p_quantities jsonb[], p_started_ats timestamptz[]
) returns setof public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_group record;
  v_results credits_result[];
  v_all credits_result[] := array_fill(null::credits_result, array[cardinality(p_keys)]);
begin
  for v_group in
    select e.organization_id as id, array_agg(e.n::integer order by e.n) as places,
      -- Read as texts, because JSON's numbers would be rounded where they are not whole, and not refused.
      array_agg(row(e.operation, e.key, e.model, e.surface, e.key_ref, e.quantities, (e.quantities ->> 'input')::bigint,
        (e.quantities ->> 'output')::bigint, (e.quantities ->> 'cache_write')::bigint,
        (e.quantities ->> 'cache_read')::bigint, nullif(e.quantities - '{input,output,cache_write,cache_read}'::text[], '{}'),
        e.started_at)::credits__event order by e.n) as events
    from unnest(p_organizations, p_operations, p_keys, p_models, p_surfaces, p_key_refs, p_quantities, p_started_ats)
      with ordinality as e (organization_id, operation, key, model, surface, key_ref, quantities, started_at, n)
    group by 1 order by 1
  loop
    v_results := credits__charge_in_order(v_group.id, v_group.events);
    if cardinality(v_results) = cardinality(v_all) then
      v_all := v_results;
    else
      for i in 1 .. cardinality(v_results) loop
        v_all[v_group.places[i]] := v_results[i];
      end loop;
    end if;
  end loop;
  return query select * from unnest(v_all);
end $$;

-- The events of one organization: in runs, as far as nothing but one lot is needed, the burning one or the first live one,
-- and one by one where a run ends. What ends it (a repeated key, a missing price, a lot's end, a hold that lapsed, a lack
-- of credit, the line of auto-reload) is left to the single call, so that there is one place that decides it.
create function public.credits__charge_in_order(p_organization bigint, p_events public.credits__event[])
returns public.credits_result[]
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_at timestamptz;
  p record;
  v_amount bigint;
  v_event public.credits__event;
  v_results public.credits_result[] := '{}';
  v_lot bigint;
  v_left bigint;
  v_available bigint;
  v_availables bigint[];
  v_line bigint;
  v_run record;
  v_last integer;
  i integer := 1;
begin
  a := public.credits__lock(p_organization);
  v_at := greatest(public.credits_clock(), a.last_at);
  p := public.credits__priced_events(a, p_events, v_at);
  while i <= cardinality(p_events) loop
    v_last := i - 1;
    -- A run is stamped with the instant that its events are priced at, or with that of the single call before it, unless
    -- some price has changed in between. An event without a start of its own begins when it is charged.
    a.last_at := greatest(v_at, a.last_at);
    if p.are_plain[i] and a.debt_nano = 0 and (a.last_at = v_at or not exists (
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
      -- Below it somebody would have to be told: of a reload that is due, or that credit has run out.
      v_line := greatest(case when a.low_at is null then a.reload_below_nano end - a.held_nano, 1);
      v_left := coalesce(v_left, 0);
      v_availables := '{}';
      loop
        v_amount := p.amounts[v_last + 1];
        exit when (p.are_plain[v_last + 1] and v_amount <= v_left and v_available - v_amount >= v_line) is not true;
        v_left := v_left - v_amount;
        v_available := v_available - v_amount;
        v_availables := v_availables || v_available;
        v_last := v_last + 1;
      end loop;
    end if;
    if v_last >= i then
      v_run := public.credits__charge_run(a, p_events[i:v_last], p.version_ids[i:v_last], p.model_ids[i:v_last],
        p.amounts[i:v_last], v_availables, v_lot);
      a := v_run.account;
      v_results := v_results || v_run.results;
    else
      v_last := i;
      v_event := p_events[i];
      v_results := v_results || public.credits__charge_any(p_organization, v_event.operation, v_event.key, v_event.model,
        v_event.surface, v_event.key_ref, v_event.quantities, v_event.started_at);
      a := public.credits__lock(p_organization);
    end if;
    i := v_last + 1;
  end loop;
  return v_results;
end $$;

-- Events as the single call would see them, in their order: with price and cost, and whether only credit decides.
create function public.credits__priced_events(
  a public.billing_creditaccount, p_events public.credits__event[], p_at timestamptz,
  out version_ids bigint[], out model_ids bigint[], out amounts bigint[], out are_plain boolean[]
)
language plpgsql stable as $$
begin
  select
    array_agg(g.version_id order by g.n), array_agg(g.model_id order by g.n), array_agg(g.amount_nano order by g.n),
    array_agg(
      g.amount_nano is not null and (a.state = 'open' or g.operation = 'usage') and g.is_first
        and (g.started_at is null or public.credits__may_start(g.started_at, p_at))
        and not exists (
          select 1 from public.billing_charge known
          where known.organization_id = a.organization_id and known.idempotency_key = g.key
        )
        and (g.operation <> 'usage' or not exists (select from public.credits__adjusted(a.organization_id, 'usage', g.key)))
      order by g.n)
  into version_ids, model_ids, amounts, are_plain
  from (
    select e.*, v.id as version_id, m.id as model_id, first.n = e.n as is_first,
      coalesce(
        case when e.others is null then public.credits__usual_cost(e.input, e.output, e.cache_write, e.cache_read,
          v.input_nano_per_million, v.output_nano_per_million, v.cache_write_nano_per_million,
          v.cache_read_nano_per_million, v.request_nano_per_million) end,
        public.credits__known_cost(v.rates, e.quantities)) as amount_nano
    from unnest(p_events) with ordinality e (operation, key, model, surface, key_ref, quantities, input, output,
      cache_write, cache_read, others, started_at, n)
    join (
      select key, min(n) as n
      from unnest(p_events) with ordinality k (op, key, model, surface, ref, q, i, o, w, r, others, at, n) group by key
    ) first on first.key = e.key
    left join public.billing_pricedmodel m on m.slug = e.model
    left join public.billing_priceversion v on v.priced_model_id = m.id
      and v.effective_at <= least(e.started_at, p_at)
      and (v.superseded_at is null or v.superseded_at > least(e.started_at, p_at))
    offset 0
  ) g;
end $$;

-- Charges events that one lot covers, the burning one or the first live one, set-based: what single calls would have
-- written, in their order. Those that don't tell when they began begin when they are charged.
create function public.credits__charge_run(
  a public.billing_creditaccount, p_events public.credits__event[], p_version_ids bigint[],
  p_model_ids bigint[], p_amounts bigint[], p_availables bigint[], p_lot bigint,
  out account public.billing_creditaccount, out results public.credits_result[]
)
language plpgsql as $$
declare
  v_sequence regclass := pg_get_serial_sequence('public.billing_charge', 'id');
  v_ids bigint[] := array(select nextval(v_sequence) from generate_series(1, cardinality(p_events)));
  v_total bigint := (select sum(amount) from unnest(p_amounts) amount);
  v_done boolean;
begin
  insert into public.billing_charge (id, organization_id, idempotency_key, operation, price_version_id,
    surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  select e.id, a.organization_id, e.key, e.operation, e.version_id, e.surface, e.key_ref, e.quantities,
    e.amount, 0, e.available, coalesce(e.started_at, a.last_at), a.last_at
  from rows from (unnest(p_events), unnest(p_version_ids, v_ids, p_amounts, p_availables))
    as e (operation, key, model, surface, key_ref, quantities, input, output, cache_write, cache_read, others, started_at,
      version_id, id, amount, available);
  perform public.credits__count_usages(a.organization_id, p_events, p_model_ids, p_amounts, a.last_at);
  if v_total > 0 then
    if p_lot = a.burning_lot_id then
      a.burning_remaining_nano := a.burning_remaining_nano - v_total;
      if a.burning_remaining_nano = 0 then a := public.credits__put_back(a); end if;
    else
      update public.billing_creditlot set remaining_nano = remaining_nano - v_total where id = p_lot;
    end if;
    a := public.credits__append_burns(a, p_lot, v_ids, array(select key from unnest(p_events)), p_amounts, a.last_at);
  end if;
  v_done := public.credits__save(a);
  account := a;
  results := array(
    select row('charged', null, r.id, r.amount, 0, r.available, null, false, null)::public.credits_result
    from unnest(v_ids, p_amounts, p_availables) as r (id, amount, available)
  );
end $$;
