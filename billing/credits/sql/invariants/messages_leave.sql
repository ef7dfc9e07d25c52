-- A mail leaves within half an hour of the transaction that wrote it.
select null::bigint as organization_id, 'outbox message ' || id as subject,
  format('%s since %s', state, created_at) as detail
from accounts_outboxmessage where state <> 'sent' and created_at < %(at)s - interval '30 minutes'
