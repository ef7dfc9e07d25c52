"""Who gets in, route by route: written by hand, apart from the code that decides (accounts.access, admin, gate).

console/tests/test_access_matrix.py runs it: every route of both URLconfs, by every method, as everybody there is, with
objects of the own organization, of another one, missing and malformed ones. A route without a row fails, and so does a
row without a route. A new route is one line in the table of its kind:

    "members": page(ADMIN)                              a page of the organization to look at: GET and HEAD
    "invite": form(ADMIN, sends={"email": "a@b.test"})  a page with a form: GET, HEAD and POST
    "key_revoke": button(KEYS, url={"key_id": "api_key"}, is_recent=True)    POST only
    "account_profile": own(...)                         a page of a person: everybody who is signed in

`url` says what a parameter of the address names, `body` what a field of the form or of the query names: a kind of
console/tests/access_objects.py, where a new kind is one small function. `sends` is a form that is filled in right;
what the page itself puts into its form (keys, hidden fields) needn't stand there. `is_recent` repeats the declaration
that a change needs a sign-in that is minutes old.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

Audience = Literal["public", "signed in", "member", "staff", "gate"]

ADMIN: Final = frozenset({"admin"})
MONEY: Final = ADMIN | {"billing"}
KEYS: Final = ADMIN | {"developer", "limited_developer"}
NUMBERS: Final = MONEY | KEYS
EVERY_ROLE: Final = NUMBERS | {"claude_code_user", "user"}

SAFE: Final = frozenset({"GET", "HEAD"})
FORM: Final = SAFE | {"POST"}
# Which methods the view takes is its library's business, or no matter: it answers all alike.
ANY: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

SIGN_IN: Final = frozenset({"sign in first"})
NOTHING: Final = frozenset({"not found"})
PROOF: Final = frozenset({"prove it again"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is expected of one route. ``who`` are roles for members, and for staff the right that is needed.

    ``people`` are the only principals to whom a page of a person shows its object; all others find nothing.
    ``is_own_account``: staff who have no second factor yet get in too, since they set it up there.
    ``also`` are other answers of a public page: without what it needs, it leads to the way in, or finds nothing.
    """

    audience: Audience
    who: frozenset[str] = frozenset()
    methods: frozenset[str] = SAFE
    url: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    sends: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    is_recent: bool = False
    needs_csrf_token: bool = True
    also: frozenset[str] = frozenset()
    is_own_account: bool = False


def page(who: frozenset[str], **more: Any) -> Row:
    """A page of an organization to look at."""
    return Row(audience="member", who=who, **more)


def form(who: frozenset[str], **more: Any) -> Row:
    """A page of an organization with a form that is sent to its own address."""
    return Row(audience="member", who=who, methods=FORM, **more)


def button(who: frozenset[str], **more: Any) -> Row:
    """An address of an organization that only takes POST."""
    return Row(audience="member", who=who, methods=frozenset({"POST"}), **more)


def own(methods: frozenset[str] = FORM, **more: Any) -> Row:
    """A page of a person, for everybody who is signed in."""
    return Row(audience="signed in", methods=methods, **more)


def public(methods: frozenset[str] = FORM, **more: Any) -> Row:
    """Open to all; what else guards it (a signature, a secret link) is tested where it is."""
    return Row(audience="public", methods=methods, **more)


ORGANIZATION: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "organization": page(EVERY_ROLE, methods=ANY),
        "billing:overview": page(MONEY),
        "billing:buy": form(MONEY, sends={"amount": "2500", "terms": "on"}),
        "billing:purchase": form(MONEY, url={"purchase_id": "open_purchase"}),
        "billing:problem": form(
            MONEY, url={"purchase_id": "purchase"}, sends={"category": "twice", "text": "It came twice."}
        ),
        "billing:card": form(MONEY, is_recent=True),
        "billing:card_attempts": page(MONEY),
        "billing:card_remove": form(MONEY, is_recent=True, body={"payment_method_id": "card"}),
        "billing:auto_reload": form(MONEY, is_recent=True),
        "billing:auto_reload_back_test": page(MONEY),
        "billing:auto_reload_consent": form(MONEY, is_recent=True),
        "billing:auto_reload_usage": form(MONEY, is_recent=True),
        "billing:auto_reload_history": page(MONEY, body={"before": "consent"}),
        "billing:billing_details": form(
            MONEY, sends={"address_line1": "Harbour Road 1", "city": "Springfield", "country": "US"}
        ),
        "billing:contacts": form(MONEY, sends={"name": "Accounts payable", "email": "payable@acme.example"}),
        "billing:contact_send": button(MONEY, url={"contact_id": "billing_contact"}),
        "billing:contact_remove": button(MONEY, url={"contact_id": "billing_contact"}),
        "billing:receipts": page(MONEY, body={"before": "receipt_row"}),
        "billing:receipt": page(MONEY, url={"number": "receipt"}),
        "billing:receipt_pdf": page(MONEY, url={"number": "receipt"}),
        "billing:receipt_at_processor": page(MONEY, url={"number": "receipt"}),
        "billing:credit_note": page(MONEY, url={"number": "credit_note"}),
        "billing:credit_note_pdf": page(MONEY, url={"number": "credit_note"}),
        "billing:statement": page(MONEY),
        "billing:statement_csv": page(MONEY),
        "billing:usage": page(NUMBERS),
        "billing:api_keys": page(KEYS),
        "billing:api_key_create": form(KEYS, is_recent=True, sends={"name": "batch", "surface": "api"}),
        "billing:api_key": form(KEYS, is_recent=True, url={"key_id": "api_key"}, sends={"name": "renamed"}),
        "billing:api_key_rotate": form(KEYS, is_recent=True, url={"key_id": "api_key"}, sends={"overlap": "3600"}),
        "billing:api_key_stop": button(KEYS, url={"key_id": "api_key"}),
        "billing:api_key_resume": button(KEYS, is_recent=True, url={"key_id": "api_key"}),
        "billing:api_key_revoke": form(KEYS, url={"key_id": "api_key"}),
        "billing:usage_stop": form(ADMIN),
        "billing:usage_resume": form(ADMIN, is_recent=True),
        "audit_log": page(ADMIN, body={"before": "audit_event"}),
        "audit_log_csv": button(ADMIN),
        "billing:data_export": button(ADMIN, is_recent=True),
        "organization_close": form(ADMIN, is_recent=True),
        "organization_settings": form(ADMIN, sends={"name": "Renamed", "time_zone": "UTC"}),
        "organization_security": form(ADMIN, is_recent=True),
        "members": page(ADMIN),
        "member": form(ADMIN, is_recent=True, url={"membership_id": "membership"}, sends={"role": "billing"}),
        "member_remove": form(ADMIN, is_recent=True, url={"membership_id": "membership"}),
        "invite": form(ADMIN, is_recent=True, sends={"email": "new@partner.example", "role": "user"}),
        "invitation_send": button(ADMIN, is_recent=True, url={"invitation_id": "invitation"}),
        "invitation_withdraw": button(ADMIN, url={"invitation_id": "invitation"}),
        "roles": page(EVERY_ROLE),
        "leave": form(EVERY_ROLE, is_recent=True),
    }
)

PEOPLE: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "home": own(ANY),
        "account_profile": own(FORM, is_own_account=True, sends={"name": "Maya"}),
        "account_sessions": own(FORM, is_own_account=True),
        "organization_create": own(sends={"name": "Dahlia"}),
        # Shown to the invited person only; everybody else finds nothing.
        "own_invitation": own(url={"invitation_id": "invitation"}, people=frozenset({"invited"})),
        "second_factor_required": own(SAFE, is_own_account=True),
        "mfa_index": own(ANY, is_own_account=True),
        "mfa_reauthenticate": own(ANY, is_own_account=True, also=PROOF),
        "mfa_activate_totp": own(ANY, is_own_account=True),
        "mfa_deactivate_totp": own(ANY, is_own_account=True, also=NOTHING),
        "mfa_view_recovery_codes": own(ANY, is_own_account=True, also=NOTHING),
        "mfa_generate_recovery_codes": own(ANY, is_own_account=True),
        "mfa_download_recovery_codes": own(ANY, is_own_account=True, also=NOTHING),
        "mfa_list_webauthn": own(ANY, is_own_account=True),
        "mfa_add_webauthn": own(ANY, is_own_account=True),
        "mfa_reauthenticate_webauthn": own(ANY, is_own_account=True, also=PROOF),
        "mfa_remove_webauthn": own(ANY, is_own_account=True, fixed={"pk": "1"}, also=NOTHING),
        "mfa_edit_webauthn": own(ANY, is_own_account=True, fixed={"pk": "1"}, also=NOTHING),
        "account_reauthenticate": own(ANY, is_own_account=True),
        "account_email": own(ANY, is_own_account=True),
        "account_change_password": own(ANY, is_own_account=True),
        "account_set_password": own(ANY, is_own_account=True),
    }
)

PUBLIC: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "health": public(ANY),
        "account_login": public(ANY),
        "mfa_authenticate": public(ANY, also=SIGN_IN),
        "mfa_login_webauthn": public(ANY, also=SIGN_IN),
        "billing:contact_confirm": public(fixed={"token": "no-such-token"}, also=NOTHING),
        "billing:contact_stop": public(fixed={"token": "no-such-token"}, also=NOTHING),
        "account_logout": public(ANY, also=SIGN_IN),
        "account_inactive": public(ANY),
        "account_signup": public(ANY),
        "account_resend_confirmation": public(ANY, also=SIGN_IN),
        "account_email_verification_sent": public(ANY),
        "account_confirm_email": public(ANY, also=NOTHING, fixed={"key": "no-such-key"}),
        "account_confirm_login_code": public(ANY, also=SIGN_IN),
        "account_reset_password": public(ANY),
        "account_reset_password_done": public(ANY),
        "account_reset_password_from_key": public(ANY, fixed={"uidb36": "1", "key": "no-such-key"}),
        "account_reset_password_from_key_done": public(ANY),
        "invitation": public(),
        "invitation_link": public(SAFE, fixed={"token": "no-such-link"}),
        "billing:credit_terms": public(SAFE),
        "billing:stripe_webhook": public(frozenset({"POST"}), needs_csrf_token=False),
        "policy_reports": public(frozenset({"POST"}), needs_csrf_token=False),
    }
)

PAGES: Final[Mapping[str, Row]] = MappingProxyType({**ORGANIZATION, **PEOPLE, **PUBLIC})


def staff(right: str, methods: frozenset[str] = FORM, **more: Any) -> Row:
    """A page of the administration that isn't one of a model's usual five; ``right`` as ``User.has_perm`` takes it."""
    return Row(audience="staff", who=frozenset({right}), methods=methods, **more)


# What a superuser can do with the rows of a model beside looking; all others have the right to look at the most.
STAFF_MODELS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "auth_group": frozenset({"add", "change", "delete"}),
        "accounts_user": frozenset({"add", "change"}),
        "accounts_organization": frozenset({"add", "change"}),
        "accounts_membership": frozenset({"add", "change", "delete"}),
        "accounts_servicekey": frozenset({"add"}),
        "billing_pricedmodel": frozenset({"add", "change"}),
        **dict.fromkeys(
            (
                *("accounts_auditevent", "accounts_outboxmessage", "billing_billingaccount", "billing_creditlot"),
                *("billing_hold", "billing_charge", "billing_ledgerentry", "billing_reversal"),
                *("billing_debitadjustment", "billing_takeback", "billing_unpricedusage", "billing_creditevent"),
                *("billing_usageday", "billing_priceversion", "billing_problemreport", "billing_refusedattempt"),
                *("billing_refund", "billing_dispute", "billing_earlyfraudwarning", "billing_purchase"),
                *("billing_stripeevent", "billing_cardsetup", "billing_autoreloadconsent", "billing_receipt"),
                "billing_creditnote",
            ),
            frozenset(),
        ),
    }
)

_ACCOUNT: Final = {"organization_id": "organization"}
POST: Final = frozenset({"POST"})

STAFF_PAGES: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "admin:accounts_user_second_factors": staff("accounts.change_user", ANY, url={"user_id": "user"}),
        "admin:billing_billingaccount_promotional_credit": staff("billing.give_promotional_credit", ANY, url=_ACCOUNT),
        "admin:billing_billingaccount_state": staff("billing.change_creditaccount", ANY, url=_ACCOUNT),
        "admin:billing_billingaccount_suspension": staff("billing.change_creditaccount", ANY, url=_ACCOUNT),
        "admin:billing_billingaccount_correction_credit": staff("billing.add_creditlot", ANY, url=_ACCOUNT),
        "admin:billing_billingaccount_debit": staff("billing.add_debitadjustment", ANY, url=_ACCOUNT),
        "admin:billing_billingaccount_reverse": staff(
            "billing.add_reversal", ANY, url=_ACCOUNT | {"cause_id": "charge"}, fixed={"cause_kind": "charge"}
        ),
        "admin:billing_billingaccount_take_back": staff("billing.add_takeback", ANY, url=_ACCOUNT | {"lot_id": "lot"}),
        "admin:billing_billingaccount_refund": staff(
            "billing.add_refund", ANY, url=_ACCOUNT | {"purchase_id": "purchase"}
        ),
        "admin:billing_billingaccount_settle": staff(
            "billing.add_debitadjustment", ANY, url=_ACCOUNT | {"usage_id": "unpriced_usage"}
        ),
        "admin:billing_pricedmodel_publish": staff("billing.add_priceversion", ANY, url={"model_id": "priced_model"}),
        "admin:billing_problemreport_answer": staff(
            "billing.change_problemreport", ANY, url={"report_id": "problem_report"}
        ),
        "admin:billing_purchase_attention": staff("billing.view_purchase", ANY),
        "admin:billing_purchase_read_again": staff("billing.change_purchase", POST, url={"purchase_id": "purchase"}),
        "admin:billing_stripeevent_work_again": staff(
            "billing.change_stripeevent", POST, url={"event_id": "stripe_event"}
        ),
    }
)
# Open to all who may enter the administration; what they show depends on rights, and finds nothing without.
STAFF_COMMON: Final = frozenset(
    {
        *("admin:index", "admin:password_change", "admin:password_change_done", "admin:autocomplete", "admin:jsi18n"),
        *("admin:view_on_site", "admin:app_list", "admin:login", "admin:logout", ""),
    }
)
