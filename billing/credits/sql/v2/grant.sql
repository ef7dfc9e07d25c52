-- Credit that comes in. A purchase has one lot: a second call for it answers with the first. So has a grant key, which
-- answers other content with a conflict. Without an end of its own a lot ends on the calendar anniversary in UTC
-- (29 February: 28 February).
create function public.credits_grant(
  p_organization bigint, p_kind text, p_amount bigint, p_expires_at timestamptz, p_purchase bigint, p_label text,
  p_reason text, p_actor bigint, p_grant_key uuid default null, out outcome text, out lot_id bigint, out effective_at timestamptz, out expires_at timestamptz
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  v_lot billing_creditlot;
  v_now timestamptz;
begin
  a := credits__lock(p_organization);
  if a.organization_id is null then outcome := 'organization_unknown'; return; end if;
  if p_purchase is not null then
    if not exists (
      select 1 from billing_purchase p
      where p.id = p_purchase and p.organization_id = p_organization and p.credit_nano = p_amount
    ) then
      raise exception 'organization % has no purchase % of this much credit', p_organization, p_purchase
        using errcode = '23514';
    end if;
    select * into v_lot from billing_creditlot l where l.organization_id = p_organization and l.purchase_id = p_purchase;
    if found then
      outcome := 'replayed'; lot_id := v_lot.id; effective_at := v_lot.effective_at; expires_at := v_lot.expires_at;
      return;
    end if;
  end if;
  if p_grant_key is not null then
    select * into v_lot from billing_creditlot l where l.organization_id = p_organization and l.grant_key = p_grant_key;
    if found then
      outcome := case when (v_lot.kind, v_lot.granted_nano, v_lot.expires_at, v_lot.label, v_lot.reason)
        is not distinct from (p_kind, p_amount,
          coalesce(p_expires_at, (v_lot.effective_at at time zone 'UTC' + interval '1 year') at time zone 'UTC'),
          p_label, p_reason) then 'replayed' else 'conflict' end;
      lot_id := v_lot.id; effective_at := v_lot.effective_at; expires_at := v_lot.expires_at;
      return;
    end if;
  end if;
  a := credits__stamp(a);
  v_now := a.last_at;
  a := credits__catch_up(a, v_now);
  insert into billing_creditlot (organization_id, kind, granted_nano, remaining_nano, effective_at, expires_at,
    purchase_id, label, reason, actor_id, grant_key)
  values (p_organization, p_kind, p_amount, p_amount, v_now,
    coalesce(p_expires_at, (v_now at time zone 'UTC' + interval '1 year') at time zone 'UTC'),
    p_purchase, p_label, p_reason, p_actor, p_grant_key)
  returning * into v_lot;
  a.unreserved_nano := a.unreserved_nano + p_amount;
  a := credits__append(a, 'grant', v_lot.id, p_amount, case when p_purchase is null then 'lot' else 'purchase' end,
    coalesce(p_purchase, v_lot.id), p_actor, v_now, v_now, credits__lot_terms(v_lot));
  a := credits__pay_debt(a, 'lot', v_lot.id, v_now);
  a := credits__replenished(a, credits__available_nano(a, v_now));
  perform credits__save(a);
  outcome := 'granted'; lot_id := v_lot.id; effective_at := v_lot.effective_at; expires_at := v_lot.expires_at;
end $$;
