-- A purchase's terms were accepted before it was made; it was made before it was sent, and sent before it ended. Clocks
-- of the processes may differ by five minutes; the ledger's own time is another matter.
select organization_id, 'purchase ' || id as subject,
  format('accepted %s, made %s, sent %s, ended %s', terms_accepted_at, created_at, sent_at, settled_at) as detail
from purchase
where greatest(terms_accepted_at, created_at, sent_at, settled_at, checked_at) > %(at)s + interval '5 minutes'
  or terms_accepted_at > created_at + interval '5 minutes'
  or created_at > least(sent_at, checked_at, settled_at) + interval '5 minutes'
