-- Each entry's hash covers its own columns and the hash before it; a grant's covers its lot's terms too, and one of a charge
-- the charge's key. The account keeps the last one. Written out here once more, so that a change of the function that writes
-- hashes is found. Charges from before migration 0015 have entries that don't cover their keys: they had fingerprints.
with told as (
  select e.*, coalesce(lag(e.hash) over (partition by e.organization_id order by e.seq, e.id), ''::bytea) as previous,
    case when e.kind = 'grant' then coalesce(
        int4send(length(l.kind)) || convert_to(l.kind, 'UTF8') || int8send(l.granted_nano)
        || timestamptz_send(l.effective_at) || timestamptz_send(l.expires_at), 'lot missing'::bytea)
      when e.cause_kind = 'charge' then coalesce(textsend(c.idempotency_key), 'charge missing'::bytea)
    end as terms
  from entry e
  left join lot l on e.kind = 'grant' and l.id = e.lot_id and l.organization_id = e.organization_id
  left join charge c on e.cause_kind = 'charge' and c.id = e.cause_id and c.organization_id = e.organization_id
)
select organization_id, 'entry ' || id as subject, format('its hash does not follow, number %s', seq) as detail
from told t
where not exists (
  select from (select t.terms union all select null where t.cause_kind = 'charge') covered (terms)
  where t.hash = sha256(t.previous || record_send(row(t.organization_id, t.seq, t.kind::text, t.lot_id, t.amount_nano,
    t.cause_kind::text, t.cause_id, t.reverses_seq, t.actor_id, t.value_at, t.booked_at, t.balance_after_nano,
    covered.terms)))
)
union all
select a.organization_id, 'account', 'last_hash is not the hash of the last entry'
from account a
left join lateral (
  select e.hash from entry e where e.organization_id = a.organization_id order by e.seq desc, e.id desc limit 1
) last on true
where a.last_hash <> coalesce(last.hash, ''::bytea)
