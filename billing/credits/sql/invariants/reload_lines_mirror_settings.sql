-- The account has a line exactly while auto-reload is switched on and not suspended: the minimum of the settings.
select coalesce(a.organization_id, r.organization_id) as organization_id, 'account' as subject,
  format('line at %s, the settings say %s', a.reload_below_nano, r.line_nano) as detail
from account a
full join (
  select organization_id, case when is_enabled and suspension = '' then minimum_cents * 10000000 end as line_nano from reload
) r on r.organization_id = a.organization_id
where a.reload_below_nano is distinct from r.line_nano
