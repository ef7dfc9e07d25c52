-- What an entry names as its cause is there, in the same organization, and can cause an entry of this kind.
select e.organization_id, 'entry ' || e.id as subject,
  format('%s caused by %s %s', e.kind, e.cause_kind, e.cause_id) as detail
from entry e
left join charge c on e.cause_kind = 'charge' and c.id = e.cause_id and c.organization_id = e.organization_id
left join hold h on e.cause_kind = 'hold' and h.id = e.cause_id and h.organization_id = e.organization_id
left join lot l on e.cause_kind = 'lot' and l.id = e.cause_id and l.organization_id = e.organization_id
left join purchase p on e.cause_kind = 'purchase' and p.id = e.cause_id and p.organization_id = e.organization_id
where not case e.kind
  when 'grant' then e.cause_kind in ('lot', 'purchase') and coalesce(l.id, p.id) is not null
  when 'burn' then c.id is not null
  when 'overshoot' then c.id is not null
  when 'late_capture' then c.id is not null and c.operation = 'capture'
  when 'expiry' then l.id is not null and e.cause_id = e.lot_id
  when 'return_expired' then h.id is not null and e.lot_id = any (h.lot_ids)
  when 'debt_payment' then coalesce(l.id, h.id) is not null
  when 'debt_settlement' then coalesce(l.id, h.id) is not null
  else false
end
