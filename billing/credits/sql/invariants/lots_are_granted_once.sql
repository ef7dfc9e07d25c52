-- Each lot has one entry that granted it: its amount, its start, its actor, and its purchase as the cause if it was paid.
select l.organization_id, 'lot ' || l.id as subject,
  case when g.lots is null then 'no entry grants it' when g.lots > 1 then g.lots || ' entries grant it'
    else 'the entry that grants it says otherwise' end as detail
from lot l
left join (
  select organization_id, lot_id, count(*) as lots, min(amount_nano) as nano, min(value_at) as value_at,
    min(booked_at) as booked_at, min(actor_id) as actor_id, min(cause_kind) as cause_kind, min(cause_id) as cause_id
  from entry where kind = 'grant' group by 1, 2
) g on g.organization_id = l.organization_id and g.lot_id = l.id
where g.lots is distinct from 1 or g.nano <> l.granted_nano or g.value_at <> l.effective_at
  or g.booked_at <> l.effective_at or g.actor_id is distinct from l.actor_id
  or (g.cause_kind, g.cause_id) is distinct from
    (case when l.purchase_id is null then 'lot' else 'purchase' end, coalesce(l.purchase_id, l.id))
