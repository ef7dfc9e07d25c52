-- Remainders and held credit less debt are the balance after the last entry.
select a.organization_id, 'account' as subject,
  format('%s, the entries end at %s', a.unreserved_nano + a.held_nano - a.debt_nano, coalesce(last.nano, 0)) as detail
from account a
left join lateral (
  select e.balance_after_nano as nano from entry e
  where e.organization_id = a.organization_id order by e.seq desc, e.id desc limit 1
) last on true
where a.unreserved_nano + a.held_nano - a.debt_nano <> coalesce(last.nano, 0)
