-- Credit that nobody paid for has a reason.
select organization_id, 'lot ' || id as subject, kind || ' without a reason' as detail
from lot where kind in ('promotional', 'adjustment') and trim(reason) = ''
