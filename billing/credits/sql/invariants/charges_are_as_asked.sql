-- A charge's columns are those of the request that its fingerprint was taken of; a capture's are also its hold's.
select c.organization_id, 'charge ' || c.id as subject,
  'its columns are not those of its fingerprint or its hold' as detail
from charge c
left join hold h on h.id = c.hold_id and h.organization_id = c.organization_id
left join billing_priceversion v on v.id = c.price_version_id
left join billing_pricedmodel m on m.id = v.priced_model_id
where case when c.operation = 'capture' then
    h.id is null or (c.price_version_id, c.surface, c.key_ref, c.started_at) is distinct from
      (h.price_version_id, h.surface, h.key_ref, h.started_at)
    or c.fingerprint <> sha256(convert_to(jsonb_build_array('capture', c.idempotency_key, '', '', '', c.quantities,
      c.hold_id::text)::text, 'UTF8'))
  else
    c.hold_id is not null or c.operation not in ('charge', 'usage')
    or c.started_at < c.charged_at - interval '35 days' or c.started_at > c.charged_at + interval '5 minutes'
    or not (
      (c.started_at = c.charged_at and c.fingerprint = sha256(convert_to(jsonb_build_array(c.operation, c.idempotency_key,
        m.slug, c.surface, c.key_ref, c.quantities, null)::text, 'UTF8')))
      or c.fingerprint = sha256(convert_to(jsonb_build_array(c.operation, c.idempotency_key, m.slug, c.surface, c.key_ref,
        c.quantities, (extract(epoch from c.started_at) * 1000000)::bigint::text)::text, 'UTF8'))
    )
  end
