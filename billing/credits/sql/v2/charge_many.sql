-- Many charges in one round trip and one transaction. The result always equals single calls in the given order. The
-- accounts are locked in one order, so that two batches over the same organizations can't deadlock.
create type public.credits__event as (
  n integer,
  operation text,
  key text,
  model text,
  surface text,
  key_ref text,
  quantities jsonb,
  given_started_at timestamptz,
  started_at timestamptz,
  fingerprint bytea,
  version_id bigint,
  model_id bigint,
  amount_nano bigint,
  is_plain boolean         -- a new key, priced and in time: only credit decides
);

create function public.credits_charge_many(p_events jsonb) returns setof public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_group record;
  v_results credits_result[];
  v_all credits_result[] := array_fill(null::credits_result, array[jsonb_array_length(p_events)]);
begin
  for v_group in
    select e.organization_id as id, array_agg(e.n::integer order by e.n) as places,
      array_agg(row(e.n, e.operation, e.key, e.model, e.surface, e.key_ref, e.quantities, e.started_at,
        null, null, null, null, null, null)::credits__event order by e.n) as events
    from rows from (
      jsonb_to_recordset(p_events) as (organization_id bigint, operation text, key text, model text, surface text,
        key_ref text, quantities jsonb, started_at timestamptz)
    ) with ordinality as e (organization_id, operation, key, model, surface, key_ref, quantities, started_at, n)
    group by 1 order by 1
  loop
    v_results := credits__charge_in_order(v_group.id, v_group.events);
    for i in 1 .. cardinality(v_results) loop
      v_all[v_group.places[i]] := v_results[i];
    end loop;
  end loop;
  return query select * from unnest(v_all);
end $$;

-- The events of one organization: in runs, as far as nothing but the first live lot is needed, and one by one where a
-- run ends. What ends it (a repeated key, a missing price, a lot's end, a hold that lapsed, a lack of credit, the line of
-- auto-reload) is left to the single call, so that there is one place that decides it.
create function public.credits__charge_in_order(p_organization bigint, p_events public.credits__event[])
returns public.credits_result[]
language plpgsql as $$
declare
  a public.billing_creditaccount;
  v_at timestamptz;
  v_events public.credits__event[];
  v_event public.credits__event;
  v_results public.credits_result[] := '{}';
  v_lot record;
  v_available bigint;
  v_has_lapsed boolean;
  v_total bigint;
  v_run record;
  v_last integer;
  i integer := 1;
begin
  a := public.credits__lock(p_organization);
  v_at := greatest(public.credits_clock(), a.last_at);
  v_events := public.credits__priced_events(a, p_events, v_at);
  while i <= cardinality(v_events) loop
    v_last := i - 1;
    -- A run is stamped with the instant that its events are priced at, or with that of the single call before it, unless
    -- some price has changed in between. An event without a start of its own begins when it is charged.
    a.last_at := greatest(v_at, a.last_at);
    if v_events[i].is_plain and (a.last_at = v_at or not exists (
      select 1 from public.billing_priceversion
      where (effective_at > v_at and effective_at <= a.last_at) or (superseded_at > v_at and superseded_at <= a.last_at)
    )) then
      v_has_lapsed := a.held_nano <> 0 and exists (
        select 1 from public.billing_hold
        where organization_id = p_organization and state = 'open' and expires_at <= a.last_at and amount_nano > 0
      );
      v_available := public.credits__available_nano(a, a.last_at);
      select id, remaining_nano into v_lot from public.credits_live_lots(p_organization, a.last_at) limit 1;
      v_total := 0;
      while v_last < cardinality(v_events) and a.debt_nano = 0 and not v_has_lapsed loop
        v_event := v_events[v_last + 1];
        exit when not v_event.is_plain or v_event.amount_nano > coalesce(v_lot.remaining_nano, 0) - v_total
          or v_event.amount_nano >= v_available - v_total
          or v_available + a.held_nano - v_total - v_event.amount_nano < a.reload_below_nano and a.low_at is null;
        v_total := v_total + v_event.amount_nano;
        v_last := v_last + 1;
      end loop;
    end if;
    if v_last >= i then
      if a.last_at > v_at then
        for k in i .. v_last loop
          v_events[k].started_at := coalesce(v_events[k].given_started_at, a.last_at);
        end loop;
      end if;
      v_run := public.credits__charge_run(a, v_events[i:v_last], v_lot.id, v_total, v_available);
      a := v_run.account;
      v_results := v_results || v_run.results;
    else
      v_last := i;
      v_event := v_events[i];
      v_results := v_results || public.credits_charge(p_organization, v_event.operation, v_event.key, v_event.model,
        v_event.surface, v_event.key_ref, v_event.quantities, v_event.given_started_at);
      a := public.credits__lock(p_organization);
    end if;
    i := v_last + 1;
  end loop;
  return v_results;
end $$;

-- Events as the single call would see them: with fingerprint, price and cost, and whether only credit decides.
create function public.credits__priced_events(
  a public.billing_creditaccount, p_events public.credits__event[], p_at timestamptz
) returns public.credits__event[]
language plpgsql stable as $$
begin
  return (
    select array_agg(row(g.n, g.operation, g.key, g.model, g.surface, g.key_ref, g.quantities, g.given_started_at,
      coalesce(g.given_started_at, p_at),
      public.credits__fingerprint(g.operation, g.key, g.model, g.surface, g.key_ref, g.quantities,
        (extract(epoch from g.given_started_at) * 1000000)::bigint::text),
      v.id, m.id, c.amount_nano,
      c.amount_nano is not null and c.missing is null and (a.state = 'open' or g.operation = 'usage')
        and coalesce(g.given_started_at, p_at) between p_at - interval '35 days' and p_at + interval '5 minutes'
        and g.times = 1
        and not exists (
          select 1 from public.billing_charge known
          where known.organization_id = a.organization_id and known.idempotency_key = g.key
        )
        and (g.operation <> 'usage' or not public.credits__was_adjusted(a.organization_id, 'usage', g.key))
    )::public.credits__event order by g.n)
    from (select e.*, row_number() over (partition by e.key order by e.n) as times from unnest(p_events) e) g
    left join public.billing_pricedmodel m on m.slug = g.model
    left join public.billing_priceversion v on v.priced_model_id = m.id
      and v.effective_at <= least(g.given_started_at, p_at)
      and (v.superseded_at is null or v.superseded_at > least(g.given_started_at, p_at))
    left join lateral public.credits__cost(v.rates, g.quantities) c on v.id is not null
  );
end $$;

-- Charges events that the first live lot covers, set-based: what single calls would have written, in their order.
create function public.credits__charge_run(
  a public.billing_creditaccount, p_events public.credits__event[], p_lot bigint, p_total bigint, p_available bigint,
  out account public.billing_creditaccount, out results public.credits_result[]
)
language plpgsql as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    select nextval(pg_get_serial_sequence('public.billing_charge', 'id')) from generate_series(1, cardinality(p_events))
  );
  insert into public.billing_charge (id, organization_id, idempotency_key, fingerprint, operation, price_version_id,
    surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  select e.id, a.organization_id, e.key, e.fingerprint, e.operation, e.version_id, e.surface, e.key_ref, e.quantities,
    e.amount_nano, 0, p_available - sum(e.amount_nano) over (order by e.n), e.started_at, a.last_at
  from (
    select x.*, v_ids[row_number() over (order by x.n)] as id from unnest(p_events) x
  ) e
  order by e.n;
  perform public.credits__count_usages(a.organization_id, p_events);
  if p_total > 0 then
    update public.billing_creditlot set remaining_nano = remaining_nano - p_total where id = p_lot;
    a := public.credits__append_burns(a, p_lot, v_ids,
      array(select e.amount_nano from unnest(p_events) e order by e.n), a.last_at);
  end if;
  perform public.credits__save(a);
  account := a;
  results := array(
    select row('charged', null, v_ids[row_number() over w], e.amount_nano, 0, p_available - sum(e.amount_nano) over w,
      null, false, null)::public.credits_result
    from unnest(p_events) e
    window w as (order by e.n)
    order by e.n
  );
end $$;
