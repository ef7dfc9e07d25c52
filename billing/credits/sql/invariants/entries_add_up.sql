-- Each entry keeps the book balance after it: the one before, plus its own amount.
select organization_id, 'entry ' || id as subject,
  format('balance after it is %s; %s before it and its %s make %s', balance_after_nano, before, amount_nano,
    before + amount_nano) as detail
from (
  select organization_id, id, amount_nano, balance_after_nano,
    lag(balance_after_nano, 1, 0::bigint) over (partition by organization_id order by seq, id) as before
  from entry
) running
where balance_after_nano <> before + amount_nano
