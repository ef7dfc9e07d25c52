-- An armed account whose booked credit is below its line is marked, so that the sweep finds it. No other is, and a mark
-- says why.
select organization_id, 'account' as subject,
  format('line at %s, marked %s %s, level %s', reload_below_nano, low_at, low_cause, unreserved_nano + held_nano - debt_nano) as detail
from account
where (low_at is null) <> (low_cause = '') or (low_at is not null and reload_below_nano is null)
  or low_cause not in ('', 'level', 'refusal') or low_at > %(at)s + interval '5 minutes'
  or (low_at is null and unreserved_nano + held_nano - debt_nano < reload_below_nano)
