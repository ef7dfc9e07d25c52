-- Credit that nobody paid for has a reason, and so has every correction.
select organization_id, 'lot ' || id as subject, kind || ' without a reason' as detail
from lot where kind in ('promotional', 'adjustment') and trim(reason) = ''
union all
select organization_id, subject, 'without a reason'
from (
  select organization_id, 'reversal ' || id as subject, reason from reversal
  union all select organization_id, 'adjustment ' || id, reason from adjustment
  union all select organization_id, 'take-back ' || id, reason from take_back
) correction
where trim(reason) = ''
