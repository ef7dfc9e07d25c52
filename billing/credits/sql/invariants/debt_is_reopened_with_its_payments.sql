-- Debt that is open again gives back what had paid it, in one run of entries: of the newest settlement that stands, the
-- newest payment first, and no more than the debt that then goes away.
with run as (
  select organization_id, seq, kind, abs(amount_nano) as nano, count(*) filter (where kind = 'debt_settlement')
    over (partition by organization_id order by seq, id rows between unbounded preceding and 1 preceding) as number
  from entry where kind in ('debt_payment', 'debt_settlement')
),
settlement as (select * from run where kind = 'debt_settlement'),
payment as (
  select *, sum(nano) over (partition by organization_id, number order by seq desc) - nano as before
  from run where kind = 'debt_payment'
),
reopened as (
  select u.organization_id, u.id, u.seq, u.cause_id, s.number, s.seq as settlement_seq, s.nano as whole, -u.amount_nano as nano,
    sum(-u.amount_nano) over (partition by s.organization_id, s.number order by u.seq, u.id) as done
  from entry u join settlement s on s.organization_id = u.organization_id and s.seq = u.reverses_seq
  where u.kind = 'debt_reopened'
),
returned as (
  select u.organization_id, u.id, u.seq, u.cause_id, p.number, p.before, p.nano as whole, u.amount_nano as nano,
    sum(u.amount_nano) over (partition by p.organization_id, p.number order by u.seq, u.id) as done
  from entry u join payment p on p.organization_id = u.organization_id and p.seq = u.reverses_seq
  where u.kind = 'reversal'
),
pair as (
  select *, count(*) filter (where is_reopening) over (partition by organization_id, number order by seq) as turn
  from (
    select organization_id, id, seq, cause_id, number, nano, true as is_reopening from reopened
    union all select organization_id, id, seq, cause_id, number, nano, false from returned
  ) both_sides
)
select organization_id, 'entry ' || min(id) as subject,
  format('opens %s of debt again, its payments give back %s', coalesce(sum(nano) filter (where is_reopening), 0),
    coalesce(sum(nano) filter (where not is_reopening), 0)) as detail
from pair
group by organization_id, number, turn
having sum(case when is_reopening then nano else -nano end) <> 0 or count(distinct cause_id) <> 1
  or max(seq) - min(seq) > 2 * (count(*) - 1)
union all
select organization_id, 'entry ' || id, 'gives back a payment of debt before its turn'
from returned where done - nano < before or done > before + whole
union all
select r.organization_id, 'entry ' || r.id, format('undoes settlement %s while %s stands', r.settlement_seq, s.seq)
from reopened r
join settlement s on s.organization_id = r.organization_id and s.seq > r.settlement_seq and s.seq < r.seq
left join reopened w on w.organization_id = s.organization_id and w.number = s.number and w.done = w.whole and w.seq < r.seq
where w.seq is null
union all
select d.organization_id, 'entry ' || d.id, format('leaves a debt of %s, though debt was opened again for it', d.debt_nano)
from (
  select organization_id, id, kind,
    -sum(amount_nano) over (partition by organization_id order by seq, id rows unbounded preceding) as debt_nano,
    lag(kind) over (partition by organization_id order by seq, id) as kind_before
  from entry
  where kind in ('overshoot', 'late_capture', 'adjustment_debt', 'take_back_debt', 'debt_settlement', 'debt_reopened',
    'debt_reversal')
) d
where (d.kind = 'debt_reversal' and d.kind_before = 'debt_reopened' and d.debt_nano <> 0)
  or (d.kind_before = 'debt_reopened' and d.kind not in ('debt_reopened', 'debt_reversal'))
