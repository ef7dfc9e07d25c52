-- What an operation leaves behind, and whom it concerns. The line of auto-reload is a level: live credit, held included,
-- less debt; a refusal for lack of credit while armed counts as below. Credit has run out when nothing is available
-- after an operation that spends, or when a request is refused for lack of it; only credit that comes in ends that
-- (credits__replenished), so that holds that come and go tell nobody anything. Each is told once, by a row of the
-- transaction that made it true.
create function public.credits__note_level(
  a public.billing_creditaccount, p_at timestamptz, p_available bigint, p_is_refusal boolean default false
) returns public.billing_creditaccount
language plpgsql as $$
begin
  if a.reload_below_nano is not null and a.low_at is null then
    if p_available + a.held_nano < a.reload_below_nano then
      a.low_at := p_at; a.low_cause := 'level';
    elsif p_is_refusal then
      a.low_at := p_at; a.low_cause := 'refusal';
    end if;
    if a.low_at is not null then
      insert into public.billing_creditevent (organization_id, kind, occurred_at)
      values (a.organization_id, 'reload_due', p_at);
    end if;
  end if;
  -- An organization that never had credit has not run out of it.
  if a.exhausted_at is null and a.last_seq > 0 and (p_is_refusal or p_available + a.held_nano <= 0) then
    a.exhausted_at := p_at;
    insert into public.billing_creditevent (organization_id, kind, occurred_at)
    values (a.organization_id, 'exhausted', p_at);
  end if;
  return a;
end $$;

-- Credit came in: whoever had run out of it has not any more, if something is left of it.
create function public.credits__replenished(a public.billing_creditaccount, p_available bigint)
returns public.billing_creditaccount
language plpgsql as $$
begin
  if p_available > 0 then a.exhausted_at := null; end if;
  return a;
end $$;

-- A request that credit does not cover. Nothing is spent; that a reload became due by it, or that credit ran out, is
-- kept all the same.
create function public.credits__refuse(
  a public.billing_creditaccount, p_at timestamptz, p_amount bigint, p_available bigint, p_was_low timestamptz
) returns public.credits_result
language plpgsql as $$
declare
  v_low_at timestamptz := a.low_at;
  v_exhausted_at timestamptz := a.exhausted_at;
begin
  a := public.credits__note_level(a, p_at, p_available, true);
  if a.low_at is distinct from v_low_at or a.exhausted_at is distinct from v_exhausted_at then
    perform public.credits__save(a);
  end if;
  return public.credits__refused('insufficient', p_amount, p_available, null, a.low_at is distinct from p_was_low);
end $$;
