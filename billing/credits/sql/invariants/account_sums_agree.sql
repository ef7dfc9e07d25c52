-- The account's sums are those of its lots (unreserved), its open holds (held) and its entries of debt.
select a.organization_id, 'account' as subject,
  format('unreserved %s, of lots %s; held %s, of holds %s; debt %s, of entries %s', a.unreserved_nano,
    coalesce(l.nano, 0), a.held_nano, coalesce(h.nano, 0), a.debt_nano, coalesce(e.nano, 0)) as detail
from account a
left join (select organization_id, sum(remaining_nano) as nano from lot group by organization_id) l
  on l.organization_id = a.organization_id
left join (select organization_id, sum(amount_nano) as nano from hold where state = 'open' group by organization_id) h
  on h.organization_id = a.organization_id
left join (
  select organization_id, -sum(amount_nano) as nano from entry
  where kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt', 'debt_settlement', 'debt_reopened',
    'debt_reversal') group by organization_id
) e on e.organization_id = a.organization_id
where a.unreserved_nano <> coalesce(l.nano, 0) or a.held_nano <> coalesce(h.nano, 0)
  or a.debt_nano <> coalesce(e.nano, 0) or least(a.unreserved_nano, a.held_nano, a.debt_nano) < 0
