-- Each entry's hash covers its own columns and the hash before it; a grant's covers its lot's terms too. The account
-- keeps the last one. Written out here once more, so that a change of the function that writes hashes is found.
with chained as (
  select e.organization_id, e.id, e.seq, e.hash, sha256(
    coalesce(lag(e.hash) over (partition by e.organization_id order by e.seq, e.id), ''::bytea)
    || record_send(row(e.organization_id, e.seq, e.kind::text, e.lot_id, e.amount_nano, e.cause_kind::text, e.cause_id,
      e.reverses_seq, e.actor_id, e.value_at, e.booked_at, e.balance_after_nano,
      case when e.kind = 'grant' then coalesce(
        int4send(length(l.kind)) || convert_to(l.kind, 'UTF8') || int8send(l.granted_nano)
        || timestamptz_send(l.effective_at) || timestamptz_send(l.expires_at), 'lot missing'::bytea) end))
  ) as expected
  from entry e
  left join lot l on e.kind = 'grant' and l.id = e.lot_id and l.organization_id = e.organization_id
)
select organization_id, 'entry ' || id as subject, format('its hash does not follow, number %s', seq) as detail
from chained where hash <> expected
union all
select a.organization_id, 'account', 'last_hash is not the hash of the last entry'
from account a
left join lateral (
  select e.hash from entry e where e.organization_id = a.organization_id order by e.seq desc, e.id desc limit 1
) last on true
where a.last_hash <> coalesce(last.hash, ''::bytea)
