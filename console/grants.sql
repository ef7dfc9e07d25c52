-- The rights of the runtime role, applied by the owner after every migrate; running it again changes nothing.
-- The runtime role owns nothing. Ledger rows are written by SECURITY DEFINER functions only, so that no code path,
-- and nobody with the runtime password, can rewrite history with a plain UPDATE.

GRANT USAGE ON SCHEMA public TO console_app;
REVOKE CREATE ON SCHEMA public FROM PUBLIC, console_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO console_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO console_app;

DO $grants$
DECLARE
    name text;
    routine record;
BEGIN
    -- Temporary tables would let a caller shadow a table's name inside a session.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, console_app', current_database());

    FOREACH name IN ARRAY ARRAY[
        'billing_creditaccount', 'billing_creditlot', 'billing_hold', 'billing_charge', 'billing_ledgerentry',
        'billing_usageday', 'billing_unpricedusage', 'billing_reversal', 'billing_debitadjustment', 'billing_takeback',
        'billing_creditevent'
    ] LOOP
        IF to_regclass('public.' || name) IS NOT NULL THEN
            EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %I FROM console_app', name);
        END IF;
    END LOOP;

    -- Whoever handles an event of the ledger says so on it, and nothing else.
    IF to_regclass('public.billing_creditevent') IS NOT NULL THEN
        GRANT UPDATE (handled_at) ON billing_creditevent TO console_app;
    END IF;

    -- What somebody agreed to can be added to, never changed.
    IF to_regclass('public.billing_autoreloadconsent') IS NOT NULL THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON billing_autoreloadconsent FROM console_app;
    END IF;

    -- Audit rows and the migrations' own record can be added to or read, never changed.
    IF to_regclass('public.accounts_auditevent') IS NOT NULL THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON accounts_auditevent FROM console_app;
    END IF;

    -- Where an event came from can be forgotten with its person, and is never another place.
    IF to_regclass('public.accounts_auditorigin') IS NOT NULL THEN
        REVOKE UPDATE, TRUNCATE ON accounts_auditorigin FROM console_app;
    END IF;

    -- Refunds, disputes and what was taken back for them are kept. A clawback only learns what has undone it.
    FOREACH name IN ARRAY ARRAY['billing_refund', 'billing_dispute', 'billing_clawback', 'billing_earlyfraudwarning'] LOOP
        IF to_regclass('public.' || name) IS NOT NULL THEN
            EXECUTE format('REVOKE DELETE, TRUNCATE ON %I FROM console_app', name);
        END IF;
    END LOOP;
    IF to_regclass('public.billing_clawback') IS NOT NULL THEN
        REVOKE UPDATE ON billing_clawback FROM console_app;
        GRANT UPDATE (reversal_id, undone_at) ON billing_clawback TO console_app;
    END IF;

    -- A stop of usage only learns when it ended.
    IF to_regclass('public.billing_usageblock') IS NOT NULL THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON billing_usageblock FROM console_app;
        GRANT UPDATE (ended_at, ended_by_id) ON billing_usageblock TO console_app;
    END IF;

    -- Receipts and credit notes are kept as they were issued; only the trigger that numbers them counts.
    FOREACH name IN ARRAY ARRAY['billing_receipt', 'billing_creditnote'] LOOP
        IF to_regclass('public.' || name) IS NOT NULL THEN
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM console_app', name);
        END IF;
    END LOOP;
    IF to_regclass('public.billing_documentcounter') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON billing_documentcounter FROM console_app;
    END IF;
    IF to_regclass('public.django_migrations') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON django_migrations FROM console_app;
    END IF;

    -- Extensions' functions belong to the superuser and are open to all; only the owner's own are handled here.
    FOR routine IN
        SELECT p.oid::regprocedure AS signature, p.proname
        FROM pg_proc p
        JOIN pg_roles r ON r.oid = p.proowner
        WHERE p.pronamespace = 'public'::regnamespace AND r.rolname = current_user AND p.prokind IN ('f', 'p', 'a')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', routine.signature);
        IF starts_with(routine.proname, 'credits__') THEN
            EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM console_app', routine.signature);
        ELSE
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO console_app', routine.signature);
        END IF;
    END LOOP;
END
$grants$;
