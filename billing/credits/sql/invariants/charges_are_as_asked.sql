-- A charge began when it may have, and a capture's columns are its hold's.
select c.organization_id, 'charge ' || c.id as subject,
  'it has another start, or other columns than its hold' as detail
from charge c
left join hold h on h.id = c.hold_id and h.organization_id = c.organization_id
where case when c.operation = 'capture' then
    h.id is null or (c.price_version_id, c.surface, c.key_ref, c.started_at) is distinct from
      (h.price_version_id, h.surface, h.key_ref, h.started_at)
  else
    c.hold_id is not null or c.operation not in ('charge', 'usage')
    or c.started_at < c.charged_at - interval '35 days' or c.started_at > c.charged_at + interval '5 minutes'
  end
