-- Credit that pays debt is one run of entries: out of lots, then the same sum off the debt, all of one cause.
with run as (
  select organization_id, id, seq, kind, amount_nano, cause_kind, cause_id, count(*) filter (where kind = 'debt_settlement')
    over (partition by organization_id order by seq, id rows between unbounded preceding and 1 preceding) as number
  from entry where kind in ('debt_payment', 'debt_settlement')
)
select organization_id, 'entry ' || max(id) as subject,
  format('a payment of debt that is off by %s', sum(amount_nano)) as detail
from run
group by organization_id, coalesce(number, 0)
having sum(amount_nano) <> 0 or max(seq) - min(seq) + 1 <> count(*)
  or count(*) filter (where kind = 'debt_settlement') <> 1
  or count(distinct (cause_kind, cause_id)) <> 1
