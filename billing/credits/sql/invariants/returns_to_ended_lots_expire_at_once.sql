-- Credit that a reversal gives back to a lot past its end expires with the very next entry; no other of a reversal does.
select u.organization_id, 'entry ' || u.id as subject,
  format('given back to lot %s that ends %s, and %s', u.lot_id, l.expires_at,
    case when n.id is null then 'does not expire' else 'expires' end) as detail
from entry u
join lot l on l.id = u.lot_id and l.organization_id = u.organization_id
left join entry n on n.organization_id = u.organization_id and n.seq = u.seq + 1 and n.kind = 'return_expired'
  and n.lot_id = u.lot_id and n.amount_nano = -u.amount_nano and n.cause_kind = u.cause_kind and n.cause_id = u.cause_id
  and n.value_at = u.booked_at
where u.kind = 'reversal' and (l.expires_at <= u.booked_at) <> (n.id is not null)
union all
select n.organization_id, 'entry ' || n.id, format('%s of lot %s expires that was not given back just before', -n.amount_nano, n.lot_id)
from entry n
left join entry u on u.organization_id = n.organization_id and u.seq = n.seq - 1 and u.kind = 'reversal'
  and u.lot_id = n.lot_id and u.amount_nano = -n.amount_nano and u.cause_id = n.cause_id
where n.kind = 'return_expired' and n.cause_kind = 'reversal' and u.id is null
