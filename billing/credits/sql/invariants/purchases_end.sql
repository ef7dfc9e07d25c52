-- The outcome of a purchase that no customer has to confirm is known within half an hour.
select organization_id, 'purchase ' || id as subject, format('%s since %s', state, created_at) as detail
from purchase where state in ('created', 'processing') and created_at < %(at)s - interval '30 minutes'
