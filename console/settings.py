"""Settings. Every value comes from the environment (.env.example lists all of them); nothing is read from elsewhere.

A value that would make a production start unsafe stops the start with a text that says what to change.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "[::1]", "testserver"})
SECRET_KEY_LENGTH_MIN = 50
SECRET_KEY_UNIQUE_MIN = 10

env = environ.Env()
env.read_env(BASE_DIR / ".env")


def required(name: str) -> str:
    """The variable's value. Errors: ImproperlyConfigured when it is missing or empty."""
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. See .env.example; for a look around, use ./run.")
    return value


def host_of(address: str) -> str:
    """The host name in an address, lower case, without its port."""
    return (urlsplit(address).hostname or "").lower()


# --- Where this runs -------------------------------------------------------------------------------------------------

DEBUG: bool = env.bool("DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
SITE_URL: str = env.str("SITE_URL", default="http://localhost:8000").rstrip("/")
GATE_URL: str = env.str("GATE_URL", default="http://localhost:8001").rstrip("/")
PLATFORM_NAME: str = env.str("PLATFORM_NAME", default="Example Platform")

# Who sells the credits, as receipts and credit notes print it. The address has one line for each part between "|".
SELLER_NAME: str = env.str("SELLER_NAME", default="").strip()
SELLER_ADDRESS: str = "\n".join(
    line.strip() for line in env.str("SELLER_ADDRESS", default="").split("|") if line.strip()
)
SELLER_TAX_ID: str = env.str("SELLER_TAX_ID", default="").strip()
SELLER_EMAIL: str = env.str("SELLER_EMAIL", default="").strip()
# Where reports about charges go, beside the queue in the admin. Without it, to the seller's address, if there is one.
STAFF_EMAIL: str = env.str("STAFF_EMAIL", default="").strip() or SELLER_EMAIL
# More font files for receipts in PDF, tried in this order: a path, and after "#" the font's place in a collection.
RECEIPT_FONTS: list[str] = env.list("RECEIPT_FONTS", default=[])

# A folder here means the demo: mails become files in it, and a mailbox page shows them to anyone who can reach it.
DEMO_FOLDER: str = env.str("DEMO_FOLDER", default="")

# How many proxies of our own stand in front; 0 takes the peer's address and ignores X-Forwarded-For and -Proto.
TRUSTED_PROXY_COUNT: int = env.int("TRUSTED_PROXY_COUNT", default=0)

# Without TLS the console serves this machine only, so the scheme of its address decides about cookies and HSTS.
IS_TLS = SITE_URL.startswith("https://")

SECRET_KEY = required("SECRET_KEY")
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])
# What second factors' secrets are encrypted with in the database: the first encrypts, all of them decrypt.
MFA_ENCRYPTION_KEYS: list[str] = [key.strip() for key in env.list("MFA_ENCRYPTION_KEYS", default=[]) if key.strip()]

# --- Stripe ----------------------------------------------------------------------------------------------------------

STRIPE_SECRET_KEY: str = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_PUBLISHABLE_KEY: str = env.str("STRIPE_PUBLISHABLE_KEY", default="")
STRIPE_WEBHOOK_SECRET: str = env.str("STRIPE_WEBHOOK_SECRET", default="")
# Empty is Stripe itself; anything else is a stand-in on this machine.
STRIPE_API_BASE: str = env.str("STRIPE_API_BASE", default="").rstrip("/")
STRIPE_JS_URL: str = env.str("STRIPE_JS_URL", default="https://js.stripe.com/endive/stripe.js")

STRIPE_JS_ORIGIN = "{0.scheme}://{0.netloc}".format(urlsplit(STRIPE_JS_URL))
# What the pages with a card form add to the content security policy: `@csp_update(STRIPE_CSP)`.
if STRIPE_API_BASE:
    STRIPE_CSP = {"script-src": [STRIPE_JS_ORIGIN], "connect-src": [STRIPE_JS_ORIGIN], "frame-src": [STRIPE_JS_ORIGIN]}
else:
    STRIPE_CSP = {
        "script-src": [STRIPE_JS_ORIGIN, "https://*.js.stripe.com"],
        "connect-src": ["https://api.stripe.com"],
        "frame-src": [STRIPE_JS_ORIGIN, "https://*.js.stripe.com", "https://hooks.stripe.com"],
    }

PURCHASE_MINIMUM_CENTS: int = env.int("PURCHASE_MINIMUM_CENTS", default=500)
PURCHASE_MAXIMUM_CENTS: int = env.int("PURCHASE_MAXIMUM_CENTS", default=1_000_000)
# How often one person, or one organization, may try a card: card forms, and charges that were declined or are open.
CARD_ATTEMPTS_PER_HOUR: int = env.int("CARD_ATTEMPTS_PER_HOUR", default=5)
CARD_ATTEMPTS_PER_DAY: int = env.int("CARD_ATTEMPTS_PER_DAY", default=10)
# How long auto-reload waits after a reload that was paid, whatever happens to the credit meanwhile.
AUTO_RELOAD_GAP_SECONDS: int = env.int("AUTO_RELOAD_GAP_SECONDS", default=60)
# Auto-reload pauses and asks when 24 hours of usage cost more than so many times the usual day; 0 is no brake. Usage
# below the floor never brakes.
AUTO_RELOAD_BRAKE_FACTOR: int = env.int("AUTO_RELOAD_BRAKE_FACTOR", default=4)
AUTO_RELOAD_BRAKE_FLOOR_CENTS: int = env.int("AUTO_RELOAD_BRAKE_FLOOR_CENTS", default=2_000)
# The most that staff can give as promotional credit at once.
PROMOTIONAL_CREDIT_MAXIMUM_CENTS: int = env.int("PROMOTIONAL_CREDIT_MAXIMUM_CENTS", default=1_000_000)
# Where the heads of the accounts' chains are kept each night, out of the database's reach.
LEDGER_HEADS_FILE: Path = BASE_DIR / env.str("LEDGER_HEADS_FILE", default="var/ledger-heads.jsonl")


def refuse_unsafe_settings() -> None:
    """Stop a start that would leak secrets, sign with a guessable key or mix real and pretended money."""
    unique_count = len(set(SECRET_KEY))
    guessable = any(word in SECRET_KEY.lower() for word in ("insecure", "changeme", "change-me", "replace"))
    if not DEBUG and (len(SECRET_KEY) < SECRET_KEY_LENGTH_MIN or unique_count < SECRET_KEY_UNIQUE_MIN or guessable):
        raise ImproperlyConfigured(
            f"SECRET_KEY is weak: it needs at least {SECRET_KEY_LENGTH_MIN} random characters. Make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(60))'"
        )
    refuse_unusable_encryption_keys()
    outside_hosts = sorted(host for host in ALLOWED_HOSTS if host.lower() not in LOOPBACK_HOSTS)
    if DEBUG and outside_hosts:
        raise ImproperlyConfigured(
            f"DEBUG is on and ALLOWED_HOSTS names {', '.join(outside_hosts)}: debug pages show settings and data. "
            "Set DEBUG=false."
        )
    if DEBUG and host_of(SITE_URL) not in LOOPBACK_HOSTS:
        raise ImproperlyConfigured(f"DEBUG is on and SITE_URL is {SITE_URL}. Set DEBUG=false.")
    if not IS_TLS and host_of(SITE_URL) not in LOOPBACK_HOSTS:
        raise ImproperlyConfigured(f"SITE_URL is {SITE_URL}: a console that others reach needs https://.")
    if not DEBUG and not ALLOWED_HOSTS:
        raise ImproperlyConfigured("ALLOWED_HOSTS is empty: name the hosts that this console answers for.")
    if DEMO_FOLDER and outside_hosts:
        raise ImproperlyConfigured(
            f"DEMO_FOLDER is set and ALLOWED_HOSTS names {', '.join(outside_hosts)}: the demo's mailbox is open to "
            "everyone who reaches it, so it runs on localhost only."
        )
    refuse_mixed_stripe()


def refuse_unusable_encryption_keys() -> None:
    """Stop a start that could not read or keep the secrets of second factors."""
    how = "Make one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
    if not MFA_ENCRYPTION_KEYS:
        raise ImproperlyConfigured(f"MFA_ENCRYPTION_KEYS is not set: second factors are kept encrypted. {how}")
    for place, key in enumerate(MFA_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"MFA_ENCRYPTION_KEYS: key {place} is not 32 bytes in URL-safe base64. {how}"
            ) from error


def refuse_mixed_stripe() -> None:
    """Stop a start whose Stripe keys and addresses don't belong together."""
    live = [
        name
        for name, key in (("STRIPE_SECRET_KEY", STRIPE_SECRET_KEY), ("STRIPE_PUBLISHABLE_KEY", STRIPE_PUBLISHABLE_KEY))
        if key.startswith(("sk_live", "rk_live", "pk_live"))
    ]
    if STRIPE_API_BASE and live:
        raise ImproperlyConfigured(
            f"{live[0]} is a live key and STRIPE_API_BASE points to a stand-in. Leave STRIPE_API_BASE empty, or use a "
            "test key."
        )
    if STRIPE_API_BASE and host_of(STRIPE_API_BASE) not in LOOPBACK_HOSTS:
        raise ImproperlyConfigured(
            f"STRIPE_API_BASE is {STRIPE_API_BASE}: a stand-in for Stripe runs on this machine only. Leave it empty to "
            "use Stripe."
        )
    is_stripe_js = host_of(STRIPE_JS_URL) == "js.stripe.com" and STRIPE_JS_URL.startswith("https://")
    if not STRIPE_API_BASE and not is_stripe_js:
        raise ImproperlyConfigured(
            f"STRIPE_JS_URL is {STRIPE_JS_URL}: card data goes to https://js.stripe.com only, unless STRIPE_API_BASE "
            "names a stand-in."
        )
    if STRIPE_API_BASE and host_of(STRIPE_JS_URL) not in LOOPBACK_HOSTS:
        raise ImproperlyConfigured("STRIPE_API_BASE names a stand-in, so STRIPE_JS_URL must be on this machine too.")
    is_live = STRIPE_SECRET_KEY.startswith(("sk_live", "rk_live"))
    if STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY and is_live != STRIPE_PUBLISHABLE_KEY.startswith("pk_live"):
        raise ImproperlyConfigured("STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY: one is live and one is for tests.")
    if not DEBUG and not (STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET):
        raise ImproperlyConfigured(
            "STRIPE_SECRET_KEY, STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET are needed: without the last one, "
            "webhooks can't be told from forgeries."
        )


refuse_unsafe_settings()

# --- Apps ------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "lucide",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "accounts",
    "billing",
    # The last one: what it does after migrations sees the tables of all others.
    "console",
]

MIDDLEWARE = [
    "console.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    # What answers below these, files and refusals among it, carries their headers.
    "csp.middleware.CSPMiddleware",
    "console.middleware.browser_policy",
    "console.failures.body_cap",
    "console.failures.methods",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.refusals.refusals",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.middleware.session_age.session_age",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.rate_limits.RateLimits",
    "accounts.middleware.second_factors.StaffNeedASecondFactor",
    "django_htmx.middleware.HtmxMiddleware",
]
# The gate knows no browser: no session, no cookie, no page. console.gateway_wsgi puts this in MIDDLEWARE's place.
GATE_MIDDLEWARE = ["billing.api.envelope.envelope", "django.middleware.security.SecurityMiddleware"]

ROOT_URLCONF = "console.urls"
WSGI_APPLICATION = "console.wsgi.application"
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context_processors.shell",
                "billing.context_processors.purse",
            ],
        },
    }
]

# --- Database --------------------------------------------------------------------------------------------------------

# The runtime role, which owns nothing. manage.py puts MIGRATE_DATABASE_URL in its place for the commands that migrate,
# and says so by IS_OWNER_COMMAND; the processes that serve ignore that word and refuse an owner's role in any case.
IS_OWNER_COMMAND: bool = env.bool("IS_OWNER_COMMAND", default=False)
DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url_config(required("DATABASE_URL"))}
DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 5
DATABASES["default"].update(CONN_MAX_AGE=600, CONN_HEALTH_CHECKS=True, TIME_ZONE="UTC", ATOMIC_REQUESTS=False)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# In the database, because log-in throttles and used codes must survive a flush of the broker.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "console_cache"}}

# --- People ----------------------------------------------------------------------------------------------------------

# Whether anybody may sign up and create an organization. Closed, only people with an invitation may.
SIGN_UP_IS_OPEN: bool = env.bool("SIGN_UP_IS_OPEN", default=False)

AUTH_USER_MODEL = "accounts.User"
# allauth's backend is a ModelBackend too, so admin rights work; a second one would only hash each password twice.
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
# What everybody would try first here; the platform's own name is one of them.
PASSWORD_CONTEXT_WORDS = [*PLATFORM_NAME.split(), "credit", "console", "billing", "admin", "prepaid", "password"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.passwords.ContextWordValidator", "OPTIONS": {"words": PASSWORD_CONTEXT_WORDS}},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"

ACCOUNT_ADAPTER = "accounts.emails.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if IS_TLS else "http"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_PREVENT_ENUMERATION = True
# Whoever confirms the address in the browser that signed up, within 15 minutes, is signed in by it.
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
# A reset for an unknown address sends nothing: nobody can use the form to send mail to strangers.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
# Off, because they live in the cache; accounts.middleware.rate_limits has limits that outlive it.
ACCOUNT_RATE_LIMITS = False
ACCOUNT_EMAIL_NOTIFICATIONS = True
# One has one address. A new one takes the old one's place once it is confirmed, and the old one is told.
ACCOUNT_CHANGE_EMAIL = True
# Others end; the one in which the password was changed stays.
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_LOGOUT_ON_GET = False
# Asked on the sign-in page.
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_FORMS = {
    "signup": "accounts.forms.SignUpForm",
    "login": "accounts.forms.SignInForm",
    "add_email": "accounts.forms.AddEmailForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
}

MFA_ADAPTER = "accounts.factor_adapter.FactorAdapter"
# Off, as ACCOUNT_RATE_LIMITS above.
MFA_RATE_LIMITS = False
MFA_SUPPORTED_TYPES = ["recovery_codes", "totp", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Nobody signs in before an address is confirmed. Without this, an address that waits for it while somebody changes
# theirs would keep them from setting up a factor, and a factor from changing the address (record 0117).
MFA_ALLOW_UNVERIFIED_EMAIL = True
# A code is good for its own 30 seconds and no longer (record 0111).
MFA_TOTP_TOLERANCE = 0
MFA_FORMS = {
    "authenticate": "accounts.factor_forms.AuthenticateForm",
    "reauthenticate": "accounts.factor_forms.ReauthenticateForm",
    "activate_totp": "accounts.factor_forms.ActivateTOTPForm",
    "authenticate_webauthn": "accounts.factor_forms.AuthenticateWebAuthnForm",
    "login_webauthn": "accounts.factor_forms.LoginWebAuthnForm",
    "reauthenticate_webauthn": "accounts.factor_forms.ReauthenticateWebAuthnForm",
    "add_webauthn": "accounts.factor_forms.AddWebAuthnForm",
    "edit_webauthn": "accounts.factor_forms.EditWebAuthnForm",
}
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXY_COUNT

# --- Cookies, headers ------------------------------------------------------------------------------------------------

# The __Host- prefix makes browsers refuse the cookie from another host or over plain HTTP; it needs TLS.
SESSION_COOKIE_NAME = "__Host-session" if IS_TLS else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if IS_TLS else "csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_TLS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# A session ends at this age whatever happens, and before that when it was idle for so long; accounts/sessions.py.
SESSION_LIFETIME = timedelta(days=14)
SESSION_IDLE = timedelta(hours=12)
SESSION_IDLE_REMEMBERED = timedelta(days=7)
SESSION_COOKIE_AGE = int(SESSION_LIFETIME.total_seconds())
# Only whoever asks to stay signed in has a session that outlives the browser's window.
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_TRUSTED_ORIGINS = [SITE_URL]

SECURE_SSL_REDIRECT = IS_TLS
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if IS_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_TLS
SECURE_HSTS_PRELOAD = IS_TLS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
        "manifest-src": ["'self'"],
        # Sent at once and by every browser; its successor, report-to, waits up to a minute and is not.
        "report-uri": ["/policy-reports/"],
    }
}

# What a page takes at most, and how many fields: the largest form is a tenth of it. No page takes a file.
PAGE_BODY_BYTES_MAX = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
# The gate's largest batch; pages are held to less before this is asked.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = ["console.failures.NoUploads"]

# --- Files, language, time -------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "var" / "static"))
# With DEBUG or in the demo, files are served from where they are edited; production serves hashed names for ever.
WHITENOISE_USE_FINDERS = DEBUG or bool(DEMO_FOLDER)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_TLS
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

# --- Mail ------------------------------------------------------------------------------------------------------------

DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="Credit Console <billing@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
if DEMO_FOLDER:
    EMAIL_BACKEND = "console.demo.mail_backend.MailFolderBackend"
else:
    vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 10

# --- Work in the background ------------------------------------------------------------------------------------------

REDIS_URL: str = env.str("REDIS_URL", default="redis://localhost:6379/0")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Kombu looks for tasks of killed workers on every tenth tick only, unless told otherwise.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TIME_LIMIT = 300
# A broker that is down costs a request at most a moment; the sweep does the work.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "forget-used-codes": {"task": "accounts.tasks.forget_used_codes", "schedule": timedelta(hours=1)},
    "deliver-outbox": {"task": "accounts.tasks.deliver_outbox", "schedule": timedelta(seconds=5)},
    "relay-credit-events": {"task": "billing.tasks.relay_credit_events", "schedule": timedelta(seconds=2)},
    "sweep-reloads": {"task": "billing.tasks.sweep_reloads", "schedule": timedelta(seconds=5)},
    "sweep-stripe-events": {"task": "billing.tasks.sweep_stripe_events", "schedule": timedelta(seconds=10)},
    "reconcile-purchases": {"task": "billing.tasks.reconcile_purchases", "schedule": timedelta(seconds=30)},
    "tell-card-expiry": {"task": "billing.tasks.tell_card_expiry", "schedule": timedelta(hours=6)},
    "tidy-customers": {"task": "billing.tasks.tidy_customers", "schedule": timedelta(minutes=1)},
    "book-expiry": {"task": "billing.tasks.book_expiry", "schedule": timedelta(seconds=60)},
    "remove-ended-sessions": {"task": "accounts.tasks.remove_ended_sessions", "schedule": timedelta(hours=1)},
    "remove-ended-throttles": {"task": "accounts.tasks.remove_ended_throttles", "schedule": timedelta(minutes=10)},
}
# A sweep that waited longer than its interval is replaced by the next one.
for entry in CELERY_BEAT_SCHEDULE.values():
    entry.setdefault("options", {})["expires"] = entry["schedule"].total_seconds()

# --- Logs ------------------------------------------------------------------------------------------------------------

# Which kind of process this is: web, gate, worker or beat. It appears in what is sent to Stripe, beside the version.
PROCESS_NAME: str = env.str("PROCESS_NAME", default="")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "no_secrets": {"()": "console.middleware.SecretsFilter"},
        "reference": {"()": "console.middleware.ReferenceFilter"},
    },
    "formatters": {"line": {"format": "{asctime} {levelname} {request_id} {name} {message}", "style": "{"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["reference", "no_secrets"]}
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        # A refusal for lack of credits is an answer, not an event: an organization that runs dry would flood the log.
        "django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        "celery": {"level": "WARNING"},
        "stripe": {"level": "WARNING"},
        # It tells the id of each passkey.
        "fido2": {"level": "WARNING"},
        # They tell every step of every font that goes into a PDF.
        "fontTools": {"level": "ERROR"},
        "fpdf": {"level": "ERROR"},
    },
}
