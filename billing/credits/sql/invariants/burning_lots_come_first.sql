-- burning_lots_come_first
-- The lot that an account burns is its own, has something left and no more than it was granted, ends when the account
-- says, and comes before every other open one.
select a.organization_id, 'lot ' || a.burning_lot_id as subject,
  format('%s left until %s; it was granted %s until %s', a.burning_remaining_nano, a.burning_ends_at,
    l.granted_nano, l.expires_at) as detail
from account a
left join billing_creditlot l on l.id = a.burning_lot_id and l.organization_id = a.organization_id
where num_nonnulls(a.burning_lot_id, a.burning_remaining_nano, a.burning_ends_at) not in (0, 3)
  or a.burning_lot_id is not null and (
    (a.burning_remaining_nano between 1 and l.granted_nano and a.burning_ends_at = l.expires_at) is not true
    or exists (
      select from lot sooner where sooner.organization_id = a.organization_id and sooner.is_open
        and (sooner.expires_at, sooner.burn_rank, sooner.effective_at, sooner.id)
          < (l.expires_at, l.burn_rank, l.effective_at, l.id))
  )
