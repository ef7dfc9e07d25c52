-- Whatever has money has an account, the row that is its lock.
select organization_id, subject, 'the organization has no account' as detail
from (
  select organization_id, 'lot ' || id as subject from lot
  union all select organization_id, 'hold ' || id from hold
  union all select organization_id, 'charge ' || id from charge
  union all select organization_id, 'entry ' || id from entry
  union all select organization_id, 'reversal ' || id from reversal
  union all select organization_id, 'adjustment ' || id from adjustment
  union all select organization_id, 'take-back ' || id from take_back
  union all select organization_id, 'usage day ' || id from usage_day
  union all select organization_id, 'unpriced usage ' || id from unpriced
  union all select organization_id, 'credit event ' || id from credit_event
) owned
where not exists (select 1 from account a where a.organization_id = owned.organization_id)
