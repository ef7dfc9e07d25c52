-- Columns of money are bigint, and no column of billing can hold a fraction.
select null::bigint as organization_id, table_name || '.' || column_name as subject, 'is ' || data_type as detail
from information_schema.columns
where table_schema = 'public' and starts_with(table_name, 'billing_')
  and ((column_name ~ '(nano|cents|per_million)$' and data_type <> 'bigint' and udt_name <> '_int8')
    or data_type in ('numeric', 'real', 'double precision', 'money'))
