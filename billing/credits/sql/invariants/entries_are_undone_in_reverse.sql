-- What a cause moved is undone from its last entry to its first: each part lies where the parts before it had come to.
with moved as (
  select e.organization_id, e.seq, e.cause_kind, e.cause_id, -e.amount_nano as nano,
    e.amount_nano - sum(e.amount_nano) over (
      partition by e.organization_id, e.cause_kind, e.cause_id order by e.seq desc, e.id desc) as before
  from entry e
  join (select distinct organization_id, cause_kind, cause_id from reversal) r
    on r.organization_id = e.organization_id and r.cause_kind = e.cause_kind and r.cause_id = e.cause_id
  where e.kind in ('burn', 'overshoot', 'late_capture', 'adjustment', 'adjustment_debt', 'take_back', 'take_back_debt')
),
undone as (
  select u.organization_id, u.id, u.reverses_seq, u.amount_nano, m.nano, m.before,
    sum(u.amount_nano) over (partition by m.organization_id, m.cause_kind, m.cause_id order by u.seq, u.id) as done
  from entry u join moved m on m.organization_id = u.organization_id and m.seq = u.reverses_seq
)
select organization_id, 'entry ' || id as subject,
  format('undoes number %s, of which the turn is from %s to %s, from %s to %s', reverses_seq, before, before + nano,
    done - amount_nano, done) as detail
from undone
where done - amount_nano < before or done > before + nano
