-- At no entry of its history has more debt been paid or forgiven than there was.
select organization_id, 'entry ' || id as subject, format('debt stands at %s after it', nano) as detail
from (
  select organization_id, id,
    -sum(amount_nano) over (partition by organization_id order by seq, id rows unbounded preceding) as nano
  from entry
  where kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt', 'debt_settlement', 'debt_reopened',
    'debt_reversal')
) running
where nano < 0
