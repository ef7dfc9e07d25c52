-- Each entry's hash covers its own columns and the hash before it; a grant's covers its lot's terms too. The account
-- keeps the last one. Written out here once more, so that a change of the function that writes hashes is found.
with chained as (
  select e.organization_id, e.id, e.seq, e.hash, sha256(
    coalesce(lag(e.hash) over (partition by e.organization_id order by e.seq, e.id), ''::bytea)
    || int8send(e.organization_id) || int8send(e.seq)
    || int4send(length(e.kind)) || convert_to(e.kind, 'UTF8')
    || case when e.lot_id is null then int4send(0) else int4send(1) || int8send(e.lot_id) end || int8send(e.amount_nano)
    || int4send(length(e.cause_kind)) || convert_to(e.cause_kind, 'UTF8') || int8send(e.cause_id)
    || case when e.actor_id is null then int4send(0) else int4send(1) || int8send(e.actor_id) end
    || timestamptz_send(e.value_at) || timestamptz_send(e.booked_at) || int8send(e.balance_after_nano)
    || case when e.kind = 'grant' then coalesce(
         int4send(length(l.kind)) || convert_to(l.kind, 'UTF8') || int8send(l.granted_nano)
         || timestamptz_send(l.effective_at) || timestamptz_send(l.expires_at), 'lot missing'::bytea)
       else ''::bytea end
    || case when e.reverses_seq is null then ''::bytea else int8send(e.reverses_seq) end
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
