-- Rows of history are immutable, for the owner of the tables too. No flag opens these triggers.
create function public.credits__refuse_change() returns trigger
language plpgsql as $$
begin
  raise exception '% of % is refused: its rows are history', tg_op, tg_table_name using errcode = '42501';
end $$;

create trigger ledgerentry_immutable before update or delete on public.billing_ledgerentry
for each row execute function public.credits__refuse_change();
create trigger ledgerentry_not_truncated before truncate on public.billing_ledgerentry
for each statement execute function public.credits__refuse_change();

create trigger charge_immutable before update or delete on public.billing_charge
for each row execute function public.credits__refuse_change();
create trigger charge_not_truncated before truncate on public.billing_charge
for each statement execute function public.credits__refuse_change();

create trigger reversal_immutable before update or delete on public.billing_reversal
for each row execute function public.credits__refuse_change();
create trigger reversal_not_truncated before truncate on public.billing_reversal
for each statement execute function public.credits__refuse_change();

create trigger adjustment_immutable before update or delete on public.billing_debitadjustment
for each row execute function public.credits__refuse_change();
create trigger adjustment_not_truncated before truncate on public.billing_debitadjustment
for each statement execute function public.credits__refuse_change();

create trigger take_back_immutable before update or delete on public.billing_takeback
for each row execute function public.credits__refuse_change();
create trigger take_back_not_truncated before truncate on public.billing_takeback
for each statement execute function public.credits__refuse_change();

create trigger price_immutable before update or delete on public.billing_price
for each row execute function public.credits__refuse_change();
create trigger price_not_truncated before truncate on public.billing_price
for each statement execute function public.credits__refuse_change();

create trigger reload_consent_immutable before update or delete on public.billing_autoreloadconsent
for each row execute function public.credits__refuse_change();
create trigger reload_consent_not_truncated before truncate on public.billing_autoreloadconsent
for each statement execute function public.credits__refuse_change();

-- Of a price version only its end may still be set, once: past charges are never priced anew.
create function public.credits__guard_price_version() returns trigger
language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.superseded_at is null and new.superseded_at > public.credits_clock() - interval '1 minute'
    and (new.id, new.priced_model_id, new.effective_at, new.rates, new.created_at, new.actor_id, new.reason)
      is not distinct from (old.id, old.priced_model_id, old.effective_at, old.rates, old.created_at, old.actor_id, old.reason)
  then
    return new;
  end if;
  raise exception '% of a price version is refused: only its end may be set, once', tg_op using errcode = '42501';
end $$;

create trigger priceversion_guarded before update or delete on public.billing_priceversion
for each row execute function public.credits__guard_price_version();

-- A lot keeps what it was granted as.
create function public.credits__guard_lot() returns trigger
language plpgsql as $$
begin
  if tg_op = 'UPDATE' and (new.id, new.organization_id, new.kind, new.granted_nano, new.effective_at, new.expires_at,
      new.purchase_id, new.label, new.reason, new.actor_id, new.grant_key)
    is not distinct from (old.id, old.organization_id, old.kind, old.granted_nano, old.effective_at, old.expires_at,
      old.purchase_id, old.label, old.reason, old.actor_id, old.grant_key)
  then
    return new;
  end if;
  raise exception '% of a lot is refused: only its remainder changes', tg_op using errcode = '42501';
end $$;

create trigger lot_delete_guarded before delete on public.billing_creditlot
for each row execute function public.credits__guard_lot();
-- Afterwards, because a trigger before an update locks each row once more, in every charge.
create trigger lot_update_guarded
after update of id, organization_id, kind, granted_nano, effective_at, expires_at, purchase_id, label, reason, actor_id,
  grant_key
on public.billing_creditlot for each row execute function public.credits__guard_lot();

-- Charges, holds and entries have no foreign keys: on tables that are partitioned by organization there could be none to
-- an id alone, and each costs a look-up for every row. What they point to can't go away instead.
create trigger account_kept before delete on public.billing_creditaccount
for each row execute function public.credits__refuse_change();
create trigger account_not_truncated before truncate on public.billing_creditaccount
for each statement execute function public.credits__refuse_change();
create trigger hold_kept before delete on public.billing_hold
for each row execute function public.credits__refuse_change();
create trigger hold_not_truncated before truncate on public.billing_hold
for each statement execute function public.credits__refuse_change();
create trigger lot_not_truncated before truncate on public.billing_creditlot
for each statement execute function public.credits__refuse_change();
create trigger unpriced_usage_kept before delete on public.billing_unpricedusage
for each row execute function public.credits__refuse_change();
create trigger priced_model_kept before delete on public.billing_pricedmodel
for each row execute function public.credits__refuse_change();
create trigger price_version_not_truncated before truncate on public.billing_priceversion
for each statement execute function public.credits__refuse_change();
