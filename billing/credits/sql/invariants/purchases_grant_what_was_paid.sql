-- A cent buys a cent of credit: there is no fee, tax or bonus.
select organization_id, 'purchase ' || id as subject,
  format('%s cents for %s nano', amount_cents, credit_nano) as detail
from purchase where amount_cents <= 0 or credit_nano <> amount_cents * 10000000
