-- The sign of an entry, and whether it names a lot and an entry that it undoes, follow from its kind; no entry moves
-- nothing.
select organization_id, 'entry ' || id as subject,
  format('%s of %s, lot %s, undoes %s', kind, amount_nano, coalesce(lot_id::text, 'none'),
    coalesce(reverses_seq::text, 'none')) as detail
from entry
where case
  when kind = 'grant' then amount_nano <= 0 or lot_id is null
  when kind in ('burn', 'expiry', 'return_expired', 'debt_payment', 'adjustment', 'take_back')
    then amount_nano >= 0 or lot_id is null
  when kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt') then amount_nano >= 0 or lot_id is not null
  when kind = 'debt_settlement' then amount_nano <= 0 or lot_id is not null
  when kind = 'reversal' then amount_nano <= 0 or lot_id is null
  when kind = 'debt_reversal' then amount_nano <= 0 or lot_id is not null
  when kind = 'debt_reopened' then amount_nano >= 0 or lot_id is not null
  else true
end or (reverses_seq is not null) <> (kind in ('reversal', 'debt_reversal', 'debt_reopened'))
