-- The checks of accounts, holds, charges, entries and days of usage, when constraints called them: migration 0003 makes
-- them, 0017 takes them away (row_checks.sql of v2).
create or replace function public.creditaccount_is_sound(
  p_state text, p_unreserved bigint, p_held bigint, p_debt bigint, p_reload_below bigint, p_burning bigint
) returns boolean
language plpgsql immutable as $$
begin
  -- No sum is negative, and the burning lot has something, all of which is unreserved.
  return least(p_unreserved, p_held, p_debt, p_reload_below, p_burning - 1, p_unreserved - p_burning) >= 0
    and p_state in ('open', 'frozen', 'closed');
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
  if not (least(p_debt, p_amount - p_debt) >= 0 and p_surface in ('api', 'workbench', 'claude_code')) then
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
  if p_reverses is not null then
    if not p_kind in ('reversal', 'debt_reversal', 'debt_reopened') then return false; end if;
  end if;
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
  return least(p_requests - 1, p_reversed, p_amount - p_reversed) >= 0;
end $$;
