-- A reload names the consent it rests on: given before it, by saving auto-reload switched on, with the same text.
select p.organization_id, 'purchase ' || p.id as subject,
  format('consent of %s (%s)', p.terms_accepted_at, p.terms_version) as detail
from purchase p
where p.kind = 'auto_reload' and not exists (
  select 1 from billing_autoreloadconsent c
  where c.organization_id = p.organization_id and c.is_enabled and c.consented_at = p.terms_accepted_at
    and c.consent_version = p.terms_version and c.consented_at <= p.created_at + interval '5 minutes'
)
