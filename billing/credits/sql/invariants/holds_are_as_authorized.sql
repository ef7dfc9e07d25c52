-- A hold begins when it is authorized, lasts whole seconds and no more than an hour, and leaves no less than nothing.
select h.organization_id, 'hold ' || h.id as subject, 'it has another start, length or rest than a hold' as detail
from hold h
where h.started_at <> h.authorized_at or h.available_after_nano < 0
  or h.expires_at <= h.authorized_at or h.expires_at > h.authorized_at + interval '1 hour'
  or date_trunc('second', h.expires_at - h.authorized_at) <> h.expires_at - h.authorized_at
