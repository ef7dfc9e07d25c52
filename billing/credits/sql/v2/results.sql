-- What a hot operation answers.
create type public.credits_result as (
  outcome text,            -- charged, authorized, voided, replayed, conflict, insufficient, price_missing, ...
  hold_id bigint,
  charge_id bigint,
  amount_nano bigint,      -- what was held or charged; what was asked for, where refused
  debt_nano bigint,        -- the part of it that no credit covered
  available_nano bigint,   -- what a new request may use after it
  expires_at timestamptz,  -- of the hold
  is_newly_low boolean,    -- a reload became due by this operation
  detail text              -- the model or token class without a price
);

create function public.credits__refused(p_outcome text, p_amount bigint default null, p_available bigint default null,
  p_detail text default null, p_is_newly_low boolean default false) returns public.credits_result
language sql immutable as $$
  select row(p_outcome, null, null, p_amount, null, p_available, null, p_is_newly_low, p_detail)::public.credits_result
$$;
