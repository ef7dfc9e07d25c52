-- An entry that undoes another comes after it, on the same lot and with the other sign: a reversal undoes what its own
-- cause moved, and the payments of debt that it opens again. No entry is undone by more than it moved.
with undoing as (
  select u.organization_id, u.id, u.seq, u.kind, u.lot_id, u.amount_nano, u.reverses_seq, e.id as undone_id,
    e.kind as undone_kind, e.lot_id as undone_lot_id, e.amount_nano as undone_nano,
    (e.cause_kind, e.cause_id) = (r.cause_kind, r.cause_id) as is_of_its_cause
  from entry u
  left join entry e on e.organization_id = u.organization_id and e.seq = u.reverses_seq
  left join reversal r on u.cause_kind = 'reversal' and r.id = u.cause_id and r.organization_id = u.organization_id
  where u.reverses_seq is not null
)
select organization_id, 'entry ' || id as subject,
  format('%s of %s undoes number %s, %s of %s', kind, amount_nano, reverses_seq, coalesce(undone_kind, 'nothing'),
    coalesce(undone_nano, 0)) as detail
from undoing
where undone_id is null or seq <= reverses_seq or lot_id is distinct from undone_lot_id
  or sign(amount_nano) = sign(undone_nano)
  or not coalesce(case kind
    when 'reversal' then undone_kind = 'debt_payment'
      or (undone_kind in ('burn', 'adjustment', 'take_back') and is_of_its_cause)
    when 'debt_reversal' then
      undone_kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt') and is_of_its_cause
    when 'debt_reopened' then undone_kind = 'debt_settlement'
    else false
  end, false)
union all
select organization_id, 'entry ' || undone_id, format('moved %s, and %s of it is undone', undone_nano, sum(abs(amount_nano)))
from undoing group by organization_id, undone_id, undone_nano having sum(abs(amount_nano)) > abs(undone_nano)
