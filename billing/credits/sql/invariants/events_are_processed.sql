-- A webhook's event is processed within half an hour.
select null::bigint as organization_id, 'event ' || id as subject, format('%s received %s', type, received_at) as detail
from billing_stripeevent where processed_at is null and received_at < %(at)s - interval '30 minutes'
