-- Charges what a held request really used: from the hold's allocation first, then from live lots, then as debt. What
-- is over goes back. A capture after the lapse still charges, once. The price is the one of the request's start.
create function public.credits_capture(
  p_organization bigint, p_hold bigint, p_key text, p_quantities jsonb
) returns public.credits_result
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  h billing_hold;
  v_charge record;
  v_fingerprint bytea := credits__fingerprint('capture', p_key, '', '', '', p_quantities, p_hold::text);
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
  v_done := credits__queue(p_organization);
  a := credits__lock(p_organization);
  if a.organization_id is null then return credits__refused('organization_unknown'); end if;
  select id, hold_id, fingerprint, amount_nano, debt_nano, available_after_nano into v_charge
  from billing_charge where organization_id = p_organization and idempotency_key = p_key;
  if found then
    return row(case when v_charge.fingerprint = v_fingerprint then 'replayed' else 'conflict' end, v_charge.hold_id,
      v_charge.id, v_charge.amount_nano, v_charge.debt_nano, v_charge.available_after_nano, null, false, null)::credits_result;
  end if;
  if credits__was_adjusted(p_organization, 'capture', p_key) then return credits__refused('conflict'); end if;
  select * into h from billing_hold where organization_id = p_organization and id = p_hold;
  if not found then return credits__refused('hold_unknown'); end if;
  if h.state = 'captured' then return credits__refused('already_captured'); end if;
  if h.state = 'voided' then return credits__refused('already_voided'); end if;
  v_now := greatest(credits_clock(), a.last_at);
  a.last_at := v_now;
  select v.priced_model_id as id, m.slug, v.rates into strict v_model
  from billing_priceversion v join billing_pricedmodel m on m.id = v.priced_model_id where v.id = h.price_version_id;
  v_cost := credits__cost(v_model.rates, p_quantities);
  if v_cost.missing is not null then
    perform credits__note_unpriced(p_organization, 'capture', p_key, v_model.slug, v_cost.missing, h.surface, h.key_ref,
      p_quantities, h.started_at, v_now);
    return credits__refused('price_missing', p_detail => v_cost.missing);
  end if;
  v_was_low := a.low_at;
  a := credits__catch_up_burning(a, v_now, h.id);

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
  v_taken := credits__take_burning_first(a, v_left, v_now);
  a := v_taken.account;
  v_debt := v_left - v_taken.taken;

  -- The row comes last, because it keeps what is available afterwards and is never edited.
  v_id := nextval(pg_get_serial_sequence('billing_charge', 'id'));
  for i in 1 .. cardinality(v_spent_ids) loop
    a.held_nano := a.held_nano - v_spent_amounts[i];
    -- Valued at the authorization, when the lot was live.
    a := credits__append(a, 'burn', v_spent_ids[i], -v_spent_amounts[i], 'charge', v_id, null, h.authorized_at, v_now);
  end loop;
  a := credits__book_taken(a, 'burn', v_taken.lot_ids, v_taken.lot_amounts, 'charge', v_id, v_now, v_now);
  a := credits__owe(a, case when h.state = 'lapsed' then 'late_capture' else 'overshoot' end, v_debt, 'charge', v_id, v_now);
  a := credits__give_back(a, v_back_ids, v_back_amounts, h, v_now);
  a := credits__pay_debt(a, 'hold', h.id, v_now);
  update billing_hold set state = 'captured', settled_at = v_now where id = h.id;
  v_available := credits__available_nano(a, v_now);
  insert into billing_charge (id, organization_id, idempotency_key, fingerprint, operation, hold_id, price_version_id,
    surface, key_ref, quantities, amount_nano, debt_nano, available_after_nano, started_at, charged_at)
  values (v_id, p_organization, p_key, v_fingerprint, 'capture', h.id, h.price_version_id,
    h.surface, h.key_ref, p_quantities, v_cost.amount_nano, v_debt, v_available, h.started_at, v_now);
  v_done := credits__count_usage(p_organization, h.started_at, h.surface, v_model.id, h.key_ref, p_quantities,
    v_cost.amount_nano);
  a := credits__note_level(a, v_now, v_available);
  v_done := credits__save(a);
  return row('charged', h.id, v_id, v_cost.amount_nano, v_debt, v_available, null, a.low_at is distinct from v_was_low,
    null)::credits_result;
end $$;
