-- The sign of an entry, and whether it names a lot, follow from its kind; no entry moves nothing.
select organization_id, 'entry ' || id as subject,
  format('%s of %s, lot %s', kind, amount_nano, coalesce(lot_id::text, 'none')) as detail
from entry
where case
  when kind = 'grant' then amount_nano <= 0 or lot_id is null
  when kind = 'debt_settlement' then amount_nano <= 0 or lot_id is not null
  when kind in ('burn', 'expiry', 'return_expired', 'debt_payment') then amount_nano >= 0 or lot_id is null
  when kind in ('overshoot', 'late_capture') then amount_nano >= 0 or lot_id is not null
  else true
end
