-- What an entry names as its cause is there, in the same organization, and can cause an entry of this kind.
select e.organization_id, 'entry ' || e.id as subject,
  format('%s caused by %s %s', e.kind, e.cause_kind, e.cause_id) as detail
from entry e
left join charge c on e.cause_kind = 'charge' and c.id = e.cause_id and c.organization_id = e.organization_id
left join hold h on e.cause_kind = 'hold' and h.id = e.cause_id and h.organization_id = e.organization_id
left join lot l on e.cause_kind = 'lot' and l.id = e.cause_id and l.organization_id = e.organization_id
left join purchase p on e.cause_kind = 'purchase' and p.id = e.cause_id and p.organization_id = e.organization_id
left join reversal r on e.cause_kind = 'reversal' and r.id = e.cause_id and r.organization_id = e.organization_id
left join adjustment d on e.cause_kind = 'adjustment' and d.id = e.cause_id and d.organization_id = e.organization_id
left join take_back t on e.cause_kind = 'take_back' and t.id = e.cause_id and t.organization_id = e.organization_id
where not case e.kind
  when 'grant' then e.cause_kind in ('lot', 'purchase') and coalesce(l.id, p.id) is not null
  when 'burn' then c.id is not null
  when 'overshoot' then c.id is not null
  when 'late_capture' then c.id is not null and c.operation = 'capture'
  when 'expiry' then l.id is not null and e.cause_id = e.lot_id
  when 'return_expired' then (h.id is not null and e.lot_id = any (h.lot_ids)) or r.id is not null
  when 'debt_payment' then coalesce(l.id, h.id, r.id, t.id) is not null
  when 'debt_settlement' then coalesce(l.id, h.id, r.id, t.id) is not null
  when 'reversal' then r.id is not null
  when 'debt_reversal' then r.id is not null
  when 'debt_reopened' then r.id is not null
  when 'adjustment' then d.id is not null
  when 'adjustment_debt' then d.id is not null
  when 'take_back' then t.id is not null and e.lot_id = t.lot_id
  when 'take_back_debt' then t.id is not null
  else false
end
