-- Any capture at all, step by step.
create function public.credits__capture_any(
  p_organization bigint, p_hold bigint, p_key text, p_quantities jsonb
) returns public.credits_result
language plpgsql as $$
declare
  a public.billing_creditaccount;
  h public.billing_hold;
  v_charge record;
  v_terms bytea := public.credits__charge_terms(p_key);
  v_now timestamptz;
  v_cost record;
  v_model record;
  v_part bigint;
  v_left bigint;
  v_taken record;
  v_spent_ids bigint[] := '{}';
  v_back_ids bigint[] := '{}';
  v_back_amounts bigint[] := '{}';
  v_spent_amounts bigint[] := '{}';
  v_debt bigint;
  v_was_low timestamptz;
  v_available bigint;
  v_id bigint;
  v_done boolean;
begin
  a := public.credits__lock(p_organization);
  if a.organization_id is null then return public.credits__refused('organization_unknown'); end if;
  -- A repeat asks for what the row says.
  select id, hold_id, amount_nano, debt_nano, available_after_nano,
    (operation, hold_id, quantities) is not distinct from ('capture', p_hold, p_quantities) as is_repeat
  into v_charge
  from public.billing_charge where organization_id = p_organization and idempotency_key = p_key;
  if found then
    return row(case when v_charge.is_repeat then 'replayed' else 'conflict' end, v_charge.hold_id,
      v_charge.id, v_charge.amount_nano, v_charge.debt_nano, v_charge.available_after_nano, null, false, null)::public.credits_result;
  end if;
  if exists (select from public.credits__adjusted(p_organization, 'capture', p_key)) then return public.credits__refused('conflict'); end if;
  select * into h from public.billing_hold where organization_id = p_organization and id = p_hold;
  if not found then return public.credits__refused('hold_unknown'); end if;
  if h.state = 'captured' then return public.credits__refused('already_captured'); end if;
  if h.state = 'voided' then return public.credits__refused('already_voided'); end if;
  v_now := greatest(public.credits_clock(), a.last_at);
  a.last_at := v_now;
  select v.priced_model_id as id, m.slug, v.rates into strict v_model
  from public.billing_priceversion v join public.billing_pricedmodel m on m.id = v.priced_model_id where v.id = h.price_version_id;
  v_cost := public.credits__cost(v_model.rates, p_quantities);
  if v_cost.missing is not null then
    perform public.credits__note_unpriced(p_organization, 'capture', p_key, v_model.slug, v_cost.missing, h.surface, h.key_ref,
      p_quantities, h.started_at, v_now);
    return public.credits__refused('price_missing', p_detail => v_cost.missing);
  end if;
  v_was_low := a.low_at;
  a := public.credits__catch_up_burning(a, v_now, h.id);

  v_left := v_cost.amount_nano;
  if h.state = 'open' then
    for i in 1 .. cardinality(h.lot_ids) loop
      v_part := least(v_left, h.lot_amounts_nano[i]);
      if v_part > 0 then
        v_spent_ids := v_spent_ids || h.lot_ids[i]; v_spent_amounts := v_spent_amounts || v_part;
        v_left := v_left - v_part;
      end if;
      if h.lot_amounts_nano[i] > v_part then
        v_back_ids := v_back_ids || h.lot_ids[i]; v_back_amounts := v_back_amounts || (h.lot_amounts_nano[i] - v_part);
      end if;
    end loop;
  end if;
  v_taken := public.credits__take_burning_first(a, v_left, v_now);
  a := v_taken.account;
  v_debt := v_left - v_taken.taken;

  -- The row comes last, because it keeps what is available afterwards and is never edited.
  v_id := nextval(pg_get_serial_sequence('public.billing_charge', 'id'));
  for i in 1 .. cardinality(v_spent_ids) loop
    a.held_nano := a.held_nano - v_spent_amounts[i];
    -- Valued at the authorization, when the lot was live.
    a := public.credits__append(a, 'burn', v_spent_ids[i], -v_spent_amounts[i], 'charge', v_id, null, h.authorized_at, v_now,
      v_terms);
  end loop;
  a := public.credits__book_taken(a, 'burn', v_taken.lot_ids, v_taken.lot_amounts, 'charge', v_id, v_now, v_now,
    p_terms => v_terms);
  a := public.credits__owe(a, case when h.state = 'lapsed' then 'late_capture' else 'overshoot' end, v_debt, 'charge', v_id,
    v_now, p_terms => v_terms);
  a := public.credits__give_back(a, v_back_ids, v_back_amounts, h, v_now);
  a := public.credits__pay_debt(a, 'hold', h.id, v_now);
  update public.billing_hold set state = 'captured', settled_at = v_now where id = h.id;
  v_available := public.credits__available_nano(a, v_now);
  insert into public.billing_charge (id, organization_id, idempotency_key, operation, hold_id, price_version_id,
    surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  values (v_id, p_organization, p_key, 'capture', h.id, h.price_version_id,
    h.surface, h.key_ref, p_quantities, v_cost.amount_nano, v_debt, v_available, h.started_at, v_now);
  v_done := public.credits__count_usage(p_organization, h.started_at, h.surface, v_model.id, h.key_ref, p_quantities,
    v_cost.amount_nano);
  a := public.credits__note_level(a, v_now, v_available);
  v_done := public.credits__save(a);
  return row('charged', h.id, v_id, v_cost.amount_nano, v_debt, v_available, null, a.low_at is distinct from v_was_low,
    null)::public.credits_result;
end $$;

-- Charges what a held request really used: from the hold's allocation first, then from live lots, then as debt. What
-- is over goes back. A capture after the lapse still charges, once. The price is the one of the request's start.
--
-- The usual one is written out: its hold is open and was taken from the lot that burns still, covers what was used, and
-- the account has no debt; nobody has to be told. It locks first, because staff may be charging the same usage by an
-- adjustment, and don't line up. Of anything else nothing has been written, and credits__capture_any decides it.
create function public.credits_capture(
  p_organization bigint, p_hold bigint, p_key text, p_quantities jsonb, p_input bigint default null,
  p_output bigint default null, p_cache_write bigint default null, p_cache_read bigint default null
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  v_quantities jsonb := credits__usual_quantities(p_input, p_output, p_cache_write, p_cache_read);
  v_now timestamptz; h record;
  v_amount bigint; v_available bigint; v_id bigint; v_done boolean;
begin
  <<usual>>
  begin
    exit usual when p_quantities is not null;
    v_done := credits__queue(p_organization);
    perform from billing_creditaccount where organization_id = p_organization for no key update;
    select d.amount_nano, d.lot_ids[1] as lot_id, d.surface, d.key_ref, d.started_at, d.authorized_at, d.expires_at,
      d.price_version_id, v.priced_model_id, v.input_nano_per_million, v.output_nano_per_million,
      v.cache_write_nano_per_million, v.cache_read_nano_per_million, v.request_nano_per_million,
      exists (select from billing_charge where organization_id = p_organization and idempotency_key = p_key)
        or exists (select from credits__adjusted(p_organization, 'capture', p_key)) as is_known
    into h
    from billing_hold d join billing_priceversion v on v.id = d.price_version_id
    where d.organization_id = p_organization and d.id = p_hold and d.state = 'open' and cardinality(d.lot_ids) = 1;
    v_amount := credits__usual_cost(p_input, p_output, p_cache_write, p_cache_read, h.input_nano_per_million,
      h.output_nano_per_million, h.cache_write_nano_per_million, h.cache_read_nano_per_million, h.request_nano_per_million);
    exit usual when (v_amount > 0 and v_amount <= h.amount_nano and not h.is_known) is not true;
    v_now := credits_clock();
    exit usual when h.expires_at <= v_now;
    v_id := nextval('billing_charge_id_seq');
    with paid as (
      update billing_creditaccount a
      set last_at = v_now, last_seq = a.last_seq + 1,
        last_hash = sha256(a.last_hash || credits__entry_bytes(p_organization, a.last_seq + 1, 'burn', h.lot_id,
          -v_amount, 'charge', v_id, null, null, h.authorized_at, v_now, a.unreserved_nano + a.held_nano - v_amount,
          credits__charge_terms(p_key))),
        held_nano = a.held_nano - h.amount_nano, unreserved_nano = a.unreserved_nano + h.amount_nano - v_amount,
        burning_remaining_nano = a.burning_remaining_nano + h.amount_nano - v_amount
      where a.organization_id = p_organization and a.debt_nano = 0 and a.last_at <= v_now
        and a.burning_lot_id = h.lot_id and a.burning_ends_at > v_now
        and (a.low_at is not null or a.reload_below_nano is null
          or a.unreserved_nano + a.held_nano - v_amount >= a.reload_below_nano)
        and not exists (select from credits__lapsed_holds(p_organization, v_now))
      returning a.last_seq as seq, a.last_hash as hash, a.unreserved_nano as available_nano,
        a.unreserved_nano + a.held_nano as balance_nano
    ),
    settled as (
      update billing_hold set state = 'captured', settled_at = v_now from paid where id = p_hold
    ),
    charged as (
      insert into billing_charge (id, organization_id, idempotency_key, operation, hold_id, price_version_id,
        surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
      select v_id, p_organization, p_key, 'capture', p_hold, h.price_version_id,
        h.surface, h.key_ref, v_quantities, v_amount, 0, available_nano, h.started_at, v_now
      from paid
    ),
    entered as (
      insert into billing_ledgerentry (organization_id, seq, kind, lot_id, amount_nano, cause_kind, cause_id, value_at,
        booked_at, balance_after_nano, hash)
      select p_organization, seq, 'burn', h.lot_id, -v_amount, 'charge', v_id, h.authorized_at, v_now, balance_nano, hash
      from paid
    ),
    counted as (
      insert into billing_usageday as d (organization_id, day, surface, priced_model_id, key_ref, requests, amount_nano,
        input_units, output_units, cache_write_units, cache_read_units, other_units)
      select p_organization, (h.started_at at time zone 'UTC')::date, h.surface, h.priced_model_id, h.key_ref, 1, v_amount,
        coalesce(p_input, 0), coalesce(p_output, 0), coalesce(p_cache_write, 0), coalesce(p_cache_read, 0), '{}'
      from paid
      on conflict (organization_id, day, surface, priced_model_id, key_ref) do update
      set requests = d.requests + 1, amount_nano = d.amount_nano + excluded.amount_nano,
        input_units = d.input_units + excluded.input_units, output_units = d.output_units + excluded.output_units,
        cache_write_units = d.cache_write_units + excluded.cache_write_units,
        cache_read_units = d.cache_read_units + excluded.cache_read_units
    )
    select available_nano into v_available from paid;
    exit usual when not found;
    return row('charged', p_hold, v_id, v_amount, 0, v_available, null, false, null)::credits_result;
  end usual;
  return credits__capture_any(p_organization, p_hold, p_key,
    credits__quantities(p_input, p_output, p_cache_write, p_cache_read, p_quantities));
end $$;
