-- At most five reloads are attempted in any 24 hours.
select organization_id, 'purchase ' || id as subject, attempts || ' reloads in 24 hours' as detail
from (
  select organization_id, id, count(*) over (partition by organization_id order by created_at
    range between interval '24 hours' - interval '1 microsecond' preceding and current row) as attempts
  from purchase where kind = 'auto_reload'
) attempted
where attempts > 5
