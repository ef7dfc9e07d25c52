-- For use cases that decide under the lock (an attempt to reload, a settlement): locks the account until the end of the
-- transaction and tells what holds now.
create function public.credits_lock(
  p_organization bigint, out locked_at timestamptz, out available_nano bigint, out level_nano bigint,
  out reload_below_nano bigint, out low_at timestamptz, out low_cause text
)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
begin
  a := credits__lock(p_organization);
  if a.organization_id is null then return; end if;
  a := credits__stamp(a);
  locked_at := a.last_at;
  a := credits__catch_up(a, locked_at);
  available_nano := credits__available_nano(a, locked_at);
  level_nano := available_nano + a.held_nano;
  reload_below_nano := a.reload_below_nano; low_at := a.low_at; low_cause := a.low_cause;
end $$;

-- Arms auto-reload with a line, or disarms it (null), and looks at the level anew: also after an ended attempt and at
-- a month's start. What was low before counts no more.
create function public.credits_set_reload_line(p_organization bigint, p_below bigint) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  a public.billing_creditaccount;
  v_now timestamptz;
begin
  a := credits__lock(p_organization);
  if a.organization_id is null then return false; end if;
  a := credits__stamp(a);
  v_now := a.last_at;
  a := credits__catch_up(a, v_now);
  a.reload_below_nano := p_below; a.low_at := null; a.low_cause := '';
  a := credits__note_level(a, v_now, credits__available_nano(a, v_now));
  perform credits__save(a);
  return a.low_at is not null;
end $$;
