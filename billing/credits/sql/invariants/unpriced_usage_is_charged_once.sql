-- Usage without a price that an adjustment has charged is not charged under its own key as well. What was refused before it
-- was served has no key.
select u.organization_id, 'unpriced usage ' || u.id as subject,
  format('charged by adjustment %s and by charge %s', d.id, c.id) as detail
from unpriced u
join adjustment d on d.unpriced_usage_id = u.id and d.organization_id = u.organization_id
join charge c on c.organization_id = u.organization_id and c.idempotency_key = u.idempotency_key and c.operation = u.operation
left join (select organization_id, cause_kind, cause_id, sum(amount_nano) as nano from reversal group by 1, 2, 3) rd
  on rd.organization_id = d.organization_id and rd.cause_kind = 'adjustment' and rd.cause_id = d.id
left join (select organization_id, cause_kind, cause_id, sum(amount_nano) as nano from reversal group by 1, 2, 3) rc
  on rc.organization_id = c.organization_id and rc.cause_kind = 'charge' and rc.cause_id = c.id
where u.operation in ('usage', 'capture') and d.amount_nano > coalesce(rd.nano, 0) and c.amount_nano > coalesce(rc.nano, 0)
union all
select organization_id, 'unpriced usage ' || id, format('%s, key %L, tried %s times from %s to %s', operation,
  idempotency_key, attempts, first_at, last_at)
from unpriced
where operation not in ('authorize', 'charge', 'usage', 'capture') or attempts < 1 or last_at < first_at
  or (operation in ('authorize', 'charge') and idempotency_key <> '') or last_at > %(at)s + interval '5 minutes'
