-- What a row of money must look like by itself, whoever writes it. What may not be null says so in its column; of the rest
-- null is nothing that is there (no hold, no line of auto-reload), and a condition that is neither true nor false refuses.
--
-- These are triggers and no constraints, because a constraint is read and planned anew by each statement that writes its
-- table, and a function is compiled once for a connection. They are always enabled: no setting of a session opens them.
-- Every operator is looked up anew in each transaction, so there are few: `least` is none, and leaves nulls out.
--
-- Rows that never change are looked at before they are written, others afterwards: a trigger before an UPDATE locks the
-- row once more.

-- Refuses a row as PostgreSQL refuses one by a constraint, with the name of the check.
create function public.credits__refuse_row(p_table name, p_check name) returns void
language plpgsql as $$
begin
  raise exception 'new row for relation "%" violates check "%"', p_table, p_check
    using errcode = 'check_violation', constraint = p_check, table = p_table;
end $$;

-- No sum is negative, and the burning lot has something, all of which is unreserved.
create function public.credits__check_account() returns trigger
language plpgsql as $$
begin
  if least(new.unreserved_nano, new.held_nano, new.debt_nano, new.reload_below_nano, new.burning_remaining_nano - 1,
      new.unreserved_nano - new.burning_remaining_nano) >= 0
    and new.state in ('open', 'frozen', 'closed')
  then
    return null;
  end if;
  perform public.credits__refuse_row(tg_table_name, tg_name);
end $$;

-- A hold ends after it starts, and has an instant of its settlement exactly when it is settled.
create function public.credits__check_hold() returns trigger
language plpgsql as $$
begin
  if new.amount_nano >= 0 and new.expires_at > new.authorized_at
    and (case when new.settled_at is null then new.state = 'open' else new.state in ('captured', 'voided', 'lapsed') end)
  then
    return null;
  end if;
  perform public.credits__refuse_row(tg_table_name, tg_name);
end $$;

-- A charge owes no more than it is, and has a hold exactly when it is a capture.
create function public.credits__check_charge() returns trigger
language plpgsql as $$
begin
  if least(new.debt_nano, new.amount_nano - new.debt_nano) >= 0 and new.surface in ('api', 'workbench', 'claude_code')
    and (case when new.hold_id is null then new.operation in ('charge', 'usage') else new.operation = 'capture' end)
  then
    return new;
  end if;
  perform public.credits__refuse_row(tg_table_name, tg_name);
end $$;

-- Every kind of entry moves something, in its own direction; it names a lot exactly where it moves a lot's credit, and
-- another entry exactly where it undoes one. Usage comes first: it is nearly all there is.
create function public.credits__check_entry() returns trigger
language plpgsql as $$
begin
  if new.kind = 'burn' and new.amount_nano < 0 and new.lot_id is not null and new.reverses_seq is null then return new; end if;
  if (case
      when new.kind in ('expiry', 'return_expired', 'debt_payment', 'adjustment', 'take_back') then
        new.amount_nano < 0 and new.lot_id is not null and new.reverses_seq is null
      when new.kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt') then
        new.amount_nano < 0 and new.lot_id is null and new.reverses_seq is null
      when new.kind = 'grant' then new.amount_nano > 0 and new.lot_id is not null and new.reverses_seq is null
      when new.kind = 'debt_settlement' then new.amount_nano > 0 and new.lot_id is null and new.reverses_seq is null
      when new.kind = 'reversal' then new.amount_nano > 0 and new.lot_id is not null and new.reverses_seq is not null
      when new.kind = 'debt_reversal' then new.amount_nano > 0 and new.lot_id is null and new.reverses_seq is not null
      when new.kind = 'debt_reopened' then new.amount_nano < 0 and new.lot_id is null and new.reverses_seq is not null
    end)
  then
    return new;
  end if;
  perform public.credits__refuse_row(tg_table_name, tg_name);
end $$;

create trigger account_sound after insert or update on public.billing_creditaccount
for each row execute function public.credits__check_account();
alter table public.billing_creditaccount enable always trigger account_sound;

create trigger hold_sound after insert or update on public.billing_hold
for each row execute function public.credits__check_hold();
alter table public.billing_hold enable always trigger hold_sound;

create trigger charge_sound before insert or update on public.billing_charge
for each row execute function public.credits__check_charge();
alter table public.billing_charge enable always trigger charge_sound;

create trigger ledgerentry_sound before insert or update on public.billing_ledgerentry
for each row execute function public.credits__check_entry();
alter table public.billing_ledgerentry enable always trigger ledgerentry_sound;
