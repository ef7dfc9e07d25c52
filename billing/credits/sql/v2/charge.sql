-- Charges usage at once. `charge` is refused when credit lacks; `usage` reports work already served and is charged in
-- full, the shortfall being debt. The charge row is the record of its key, for ever.
create function public.credits_charge(
  p_organization bigint, p_operation text, p_key text, p_model text, p_surface text, p_key_ref text, p_quantities jsonb,
  p_started_at timestamptz
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a billing_creditaccount;
  v_charge record;
  v_fingerprint bytea := credits__fingerprint(p_operation, p_key, p_model, p_surface, p_key_ref, p_quantities,
    (extract(epoch from p_started_at) * 1000000)::bigint::text);
  v_now timestamptz;
  v_started_at timestamptz;
  v_price record;
  v_cost record;
  v_lot record;
  v_is_covered boolean;
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
  if p_operation = 'usage' and credits__was_adjusted(p_organization, 'usage', p_key) then
    return credits__refused('conflict');
  end if;
  if a.state <> 'open' and p_operation = 'charge' then return credits__refused('organization_suspended'); end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  v_started_at := coalesce(p_started_at, v_now);
  -- A clock at the gateway may be a little ahead. The price is one that is in force already.
  if v_started_at < v_now - interval '35 days' or v_started_at > v_now + interval '5 minutes' then
    return credits__refused('occurred_at_out_of_range');
  end if;
  v_was_low := a.low_at;
  if a.held_nano <> 0 then a := credits__lapse(a, v_now); end if;
  v_price := credits__price_version(p_model, least(v_started_at, v_now));
  v_cost := credits__cost(v_price.rates, p_quantities);
  if v_price.version_id is null or v_cost.missing is not null then
    perform credits__note_unpriced(p_organization, p_operation, p_key, p_model,
      case when v_price.version_id is not null then v_cost.missing end, p_surface, p_key_ref, p_quantities,
      v_started_at, v_now);
    return credits__refused('price_missing', p_detail =>
      case when v_price.version_id is null then p_model else v_cost.missing end,
      p_is_newly_low => a.low_at is distinct from v_was_low);
  end if;
  -- Nearly always the first lot is live and covers it, and nothing else has to be asked.
  select id, remaining_nano, expires_at into v_lot from credits__open_lots(p_organization) limit 1;
  v_available := case when v_lot.expires_at > v_now then a.unreserved_nano - a.debt_nano
    else credits__available_nano(a, v_now) end;
  if p_operation = 'charge' and (v_available < v_cost.amount_nano or v_available <= 0) then
    return credits__refuse(a, v_now, v_cost.amount_nano, v_available, v_was_low);
  end if;
  v_is_covered := v_lot.expires_at > v_now and v_lot.remaining_nano >= v_cost.amount_nano and v_cost.amount_nano > 0;
  if v_is_covered then
    update billing_creditlot set remaining_nano = remaining_nano - v_cost.amount_nano where id = v_lot.id;
    v_debt := 0;
  else
    v_taken := credits__take(p_organization, v_cost.amount_nano, v_now);
    v_debt := v_cost.amount_nano - v_taken.taken;
  end if;
  if v_debt > 0 and p_operation = 'charge' then raise exception 'lots of organization % do not cover their sum', p_organization; end if;
  insert into billing_charge (organization_id, idempotency_key, fingerprint, operation, price_version_id, surface, key_ref,
    quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  values (p_organization, p_key, v_fingerprint, p_operation, v_price.version_id, p_surface, p_key_ref,
    p_quantities, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, v_started_at, v_now)
  returning id into v_id;
  perform credits__count_usage(p_organization, v_started_at, p_surface, v_price.model_id, p_key_ref, p_quantities,
    v_cost.amount_nano);
  if v_is_covered then
    a.unreserved_nano := a.unreserved_nano - v_cost.amount_nano;
    a := credits__append(a, 'burn', v_lot.id, -v_cost.amount_nano, 'charge', v_id, null, v_now, v_now);
  else
    a := credits__book_taken(a, 'burn', v_taken.lot_ids, v_taken.lot_amounts, 'charge', v_id, v_now, v_now);
    a := credits__owe(a, 'overshoot', v_debt, 'charge', v_id, v_now);
  end if;
  if a.reload_below_nano is not null or v_available + a.held_nano <= v_cost.amount_nano then
    a := credits__note_level(a, v_now, v_available - v_cost.amount_nano);
  end if;
  perform credits__save(a);
  return row('charged', null, v_id, v_cost.amount_nano, v_debt, v_available - v_cost.amount_nano, null,
    a.low_at is distinct from v_was_low, null)::credits_result;
end $$;
