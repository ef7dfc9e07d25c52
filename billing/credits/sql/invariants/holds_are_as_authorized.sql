-- A hold's columns are those of the request that its fingerprint was taken of: key, model, quantities, surface, length.
select h.organization_id, 'hold ' || h.id as subject, 'its columns are not those of its fingerprint' as detail
from hold h
left join billing_priceversion v on v.id = h.price_version_id
left join billing_pricedmodel m on m.id = v.priced_model_id
where h.started_at <> h.authorized_at or h.available_after_nano < 0
  or h.expires_at <= h.authorized_at or h.expires_at > h.authorized_at + interval '1 hour'
  or h.fingerprint <> sha256(convert_to(jsonb_build_array('authorize', h.idempotency_key, m.slug, h.surface, h.key_ref,
    h.quantities, case when date_trunc('second', h.expires_at - h.authorized_at) = h.expires_at - h.authorized_at
      then extract(epoch from h.expires_at - h.authorized_at)::integer::text end)::text, 'UTF8'))
