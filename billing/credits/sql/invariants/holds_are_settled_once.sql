-- An open hold has no end, a captured one exactly one charge of the same instant, any other none; a hold lapses at its end.
select h.organization_id, 'hold ' || h.id as subject,
  format('%s at %s with %s charges', h.state, coalesce(h.settled_at::text, 'no time'), coalesce(c.charges, 0)) as detail
from hold h
left join (
  select organization_id, hold_id, count(*) as charges, min(charged_at) as charged_at from charge
  where hold_id is not null group by 1, 2
) c on c.organization_id = h.organization_id and c.hold_id = h.id
where (h.state = 'open') <> (h.settled_at is null)
  or (case when h.state = 'captured' then 1 else 0 end) <> coalesce(c.charges, 0)
  or (h.state = 'captured' and h.settled_at <> c.charged_at)
  or (h.state = 'lapsed' and h.settled_at < h.expires_at)
  or h.settled_at < h.authorized_at or h.settled_at > %(at)s + interval '5 minutes'
  or h.state not in ('open', 'captured', 'voided', 'lapsed')
