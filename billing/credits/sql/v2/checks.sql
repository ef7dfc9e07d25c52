-- What a row of money must look like by itself, whoever writes it: the checks of the hot tables. They are functions,
-- because a check that is written out is read and planned anew by each statement that writes its row. An unknown (null)
-- is not sound.
create or replace function public.creditaccount_is_sound(
  p_state text, p_unreserved bigint, p_held bigint, p_debt bigint, p_reload_below bigint, p_burning bigint
) returns boolean
language plpgsql immutable as $$
begin
  return p_unreserved >= 0 and p_held >= 0 and p_debt >= 0 and (p_reload_below is null or p_reload_below >= 0)
    and (p_burning is null or (p_burning > 0 and p_burning <= p_unreserved))
    and coalesce(p_state in ('open', 'frozen', 'closed'), false);
end $$;

-- A lot ends after it starts, is never overdrawn nor refilled above what it was granted as; paid lots have their
-- purchase, given ones a reason.
create or replace function public.creditlot_is_sound(
  p_kind text, p_granted bigint, p_remaining bigint, p_effective_at timestamptz, p_expires_at timestamptz,
  p_purchase bigint, p_reason text
) returns boolean
language plpgsql immutable as $$
begin
  if not (p_granted > 0 and p_remaining >= 0 and p_remaining <= p_granted and p_expires_at > p_effective_at) then
    return false;
  end if;
  if p_purchase is not null then return p_kind in ('purchase', 'auto_reload'); end if;
  return p_kind in ('promotional', 'adjustment') and p_reason <> '';
end $$;

create or replace function public.hold_is_sound(
  p_state text, p_amount bigint, p_authorized_at timestamptz, p_expires_at timestamptz, p_settled_at timestamptz
) returns boolean
language plpgsql immutable as $$
begin
  if not (p_amount >= 0 and p_expires_at > p_authorized_at) then return false; end if;
  if p_settled_at is null then return p_state = 'open'; end if;
  return p_state in ('captured', 'voided', 'lapsed');
end $$;

create or replace function public.charge_is_sound(
  p_operation text, p_hold bigint, p_surface text, p_amount bigint, p_debt bigint
) returns boolean
language plpgsql immutable as $$
begin
  if not (p_debt >= 0 and p_amount >= p_debt and p_surface in ('api', 'workbench', 'claude_code')) then
    return false;
  end if;
  if p_hold is not null then return p_operation = 'capture'; end if;
  return p_operation in ('charge', 'usage');
end $$;

-- Every kind of entry moves something, in its own direction, and names a lot exactly where it moves a lot's credit.
-- Usage comes first: it is nearly all there is.
create or replace function public.ledgerentry_is_sound(p_kind text, p_lot bigint, p_amount bigint, p_reverses bigint)
returns boolean
language plpgsql immutable as $$
begin
  if p_reverses is not null and not p_kind in ('reversal', 'debt_reversal', 'debt_reopened') then return false; end if;
  if p_lot is not null then
    if p_amount < 0 then
      return p_kind in ('burn', 'expiry', 'return_expired', 'debt_payment', 'adjustment', 'take_back');
    end if;
    return p_amount > 0 and (p_kind = 'grant' or (p_kind = 'reversal' and p_reverses is not null));
  end if;
  if p_amount < 0 then
    return p_kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt')
      or (p_kind = 'debt_reopened' and p_reverses is not null);
  end if;
  return p_amount > 0 and (p_kind = 'debt_settlement' or (p_kind = 'debt_reversal' and p_reverses is not null));
end $$;

create or replace function public.usageday_is_sound(p_requests bigint, p_amount bigint, p_reversed bigint) returns boolean
language plpgsql immutable as $$
begin
  return p_requests > 0 and p_reversed >= 0 and p_amount >= p_reversed;
end $$;
