-- Debt and free credit never stand side by side: whatever live credit there is pays it, under the same lock, as a
-- pair of entries (one for the lot, one for the debt).
create function public.credits__pay_debt(
  a public.billing_creditaccount, p_cause_kind text, p_cause_id bigint, p_at timestamptz
) returns public.billing_creditaccount
language plpgsql as $$
declare
  v_taken record;
begin
  if a.debt_nano = 0 or a.unreserved_nano = 0 then return a; end if;
  a := public.credits__put_back(a);
  select * into v_taken from public.credits__take(a.organization_id, a.debt_nano, p_at);
  if v_taken.taken = 0 then return a; end if;
  a := public.credits__book_taken(a, 'debt_payment', v_taken.lot_ids, v_taken.lot_amounts, p_cause_kind, p_cause_id,
    p_at, p_at);
  a.debt_nano := a.debt_nano - v_taken.taken;
  return public.credits__append(a, 'debt_settlement', null, v_taken.taken, p_cause_kind, p_cause_id, null, p_at, p_at);
end $$;

create function public.credits__owe(
  a public.billing_creditaccount, p_kind text, p_amount bigint, p_cause_kind text, p_cause_id bigint, p_at timestamptz,
  p_actor bigint default null, p_terms bytea default null
) returns public.billing_creditaccount
language plpgsql as $$
begin
  if p_amount = 0 then return a; end if;
  a.debt_nano := a.debt_nano + p_amount;
  return public.credits__append(a, p_kind, null, -p_amount, p_cause_kind, p_cause_id, p_actor, p_at, p_at, p_terms);
end $$;
