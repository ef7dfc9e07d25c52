-- Charges usage at once. `charge` is refused when credit lacks; `usage` reports work already served and is charged in
-- full, the shortfall being debt. The charge row is the record of its key, for ever.
create function public.credits_charge(
  p_organization bigint, p_operation text, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb,
  p_started_at timestamptz
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  v_charge record;
  v_fingerprint bytea := credits__fingerprint(p_operation, p_key, p_model, p_surface, p_key_ref, p_quantities,
    (extract(epoch from p_started_at) * 1000000)::bigint::text);
  v_now timestamptz;
  v_started_at timestamptz;
  v_version bigint;
  v_cost record;
  v_available bigint;
  v_taken record;
  v_debt bigint;
  v_was_low timestamptz;
  v_id bigint;
begin
  a := credits__lock(p_organization);
  if a.organization_id is null then return credits__refused('organization_unknown'); end if;
  select id, fingerprint, amount_nano, debt_nano, available_after_nano into v_charge
  from billing_charge where organization_id = p_organization and idempotency_key = p_key;
  if found then
    return row(case when v_charge.fingerprint = v_fingerprint then 'replayed' else 'conflict' end, null, v_charge.id,
      v_charge.amount_nano, v_charge.debt_nano, v_charge.available_after_nano, null, false, null)::credits_result;
  end if;
  if a.state <> 'open' and p_operation = 'charge' then return credits__refused('organization_suspended'); end if;
  a := credits__stamp(a);
  v_now := a.last_at;
  v_started_at := coalesce(p_started_at, v_now);
  -- A clock at the gateway may be a little ahead; it never reaches into a later price by more than that.
  if v_started_at < v_now - interval '35 days' or v_started_at > v_now + interval '5 minutes' then
    return credits__refused('occurred_at_out_of_range');
  end if;
  v_was_low := a.low_at;
  a := credits__lapse(a, v_now);
  v_version := credits__price_version(p_model, v_started_at);
  if v_version is null then return credits__refused('price_missing', p_detail => p_model); end if;
  select * into v_cost from credits__cost(v_version, p_quantities);
  if v_cost.missing is not null then return credits__refused('price_missing', p_detail => v_cost.missing); end if;
  v_available := credits__available_nano(a, v_now);
  if p_operation = 'charge' and (v_available < v_cost.amount_nano or v_available <= 0) then
    a := credits__mark_low(a, v_now, true);
    if a.low_at is distinct from v_was_low then perform credits__save(a); end if;
    return credits__refused('insufficient', v_cost.amount_nano, v_available, null, a.low_at is distinct from v_was_low);
  end if;
  select * into v_taken from credits__take(p_organization, v_cost.amount_nano, v_now);
  v_debt := v_cost.amount_nano - v_taken.taken;
  if v_debt > 0 and p_operation = 'charge' then raise exception 'lots of organization % do not cover their sum', p_organization; end if;
  insert into billing_charge (organization_id, idempotency_key, fingerprint, operation, price_version_id, surface, key_ref,
    quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  values (p_organization, p_key, v_fingerprint, p_operation, v_version, p_surface, p_key_ref,
    p_quantities, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, v_started_at, v_now)
  returning id into v_id;
  a := credits__book_taken(a, 'burn', v_taken.lot_ids, v_taken.lot_amounts, 'charge', v_id, v_now, v_now);
  a := credits__owe(a, 'overshoot', v_debt, 'charge', v_id, v_now);
  a := credits__mark_low(a, v_now);
  perform credits__save(a);
  return row('charged', null, v_id, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, null,
    a.low_at is distinct from v_was_low, null)::credits_result;
end $$;

-- Many charges in one round trip and one transaction. The accounts are locked first, in one order, so that two batches
-- over the same organizations can't deadlock; then each event has its own result, as single calls in order would have.
create function public.credits_charge_many(p_events jsonb) returns setof public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_event jsonb;
  v_organization bigint;
begin
  for v_organization in
    select distinct (e ->> 'organization_id')::bigint as id from jsonb_array_elements(p_events) e order by id
  loop
    perform credits__lock(v_organization);
  end loop;
  for v_event in select e from jsonb_array_elements(p_events) with ordinality as t(e, n) order by n loop
    return next credits_charge((v_event ->> 'organization_id')::bigint, v_event ->> 'operation', v_event ->> 'key',
      v_event ->> 'model', v_event ->> 'surface', v_event ->> 'key_ref', v_event -> 'quantities',
      (v_event ->> 'started_at')::timestamptz);
  end loop;
end $$;
