-- A paid lot is its purchase's: same organization, amount, kind, buyer and instant. Others have no purchase.
select l.organization_id, 'lot ' || l.id as subject,
  format('%s of purchase %s', l.kind, coalesce(l.purchase_id::text, 'none')) as detail
from lot l
left join purchase p on p.id = l.purchase_id and p.organization_id = l.organization_id
where case when l.kind in ('purchase', 'auto_reload')
  then p.id is null or p.credit_nano <> l.granted_nano
    or l.kind <> case p.kind when 'manual' then 'purchase' else p.kind end
    or p.actor_id is distinct from l.actor_id or p.settled_at is distinct from l.effective_at
  else l.purchase_id is not null end
