-- That an account is low, or exhausted, was told by an event of that very instant, written with it. No event is of the
-- future, nor handled before it occurred.
select a.organization_id, 'account' as subject, format('%s since %s, and no event tells it', mark.kind, mark.at) as detail
from account a
cross join lateral (values ('reload_due', a.low_at), ('exhausted', a.exhausted_at)) as mark(kind, at)
where mark.at is not null and not exists (
  select 1 from credit_event e
  where e.organization_id = a.organization_id and e.kind = mark.kind and e.occurred_at = mark.at
)
union all
select e.organization_id, 'credit event ' || e.id, format('%s at %s, handled %s', e.kind, e.occurred_at, e.handled_at)
from credit_event e
where e.kind not in ('reload_due', 'exhausted') or e.occurred_at > %(at)s + interval '5 minutes'
  or e.handled_at < e.occurred_at - interval '5 minutes'
