"""The environments that the tests and the checks run in: complete, so that a developer's own never leaks in."""

import base64
import secrets

CHECK_DATABASE_URL = "postgresql://console_app@127.0.0.1:9/console"


def encryption_key() -> str:
    """A new key for MFA_ENCRYPTION_KEYS, made without any package: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def for_tests() -> dict[str, str]:
    """The environment of the test run, without database addresses. Outside services are unreachable by intention."""
    return {
        "DEBUG": "false",
        "SECRET_KEY": secrets.token_urlsafe(60),
        "MFA_ENCRYPTION_KEYS": encryption_key(),
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
        "SITE_URL": "http://localhost:8000",
        "GATE_URL": "http://localhost:8001",
        "REDIS_URL": "redis+socket:///nonexistent/valkey.sock",
        "STRIPE_SECRET_KEY": "sk_test_" + "0" * 24,
        "STRIPE_PUBLISHABLE_KEY": "pk_test_" + "0" * 24,
        "STRIPE_WEBHOOK_SECRET": "whsec_" + "0" * 32,
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "STRIPE_JS_URL": "http://127.0.0.1:9/stripe.js",
        "EMAIL_URL": "memorymail://",
        "DEFAULT_FROM_EMAIL": "Credit Console <billing@localhost>",
        "DEMO_FOLDER": "",
        "TRUSTED_PROXY_COUNT": "0",
        "PLATFORM_NAME": "Example Platform",
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
    }


def for_production_checks() -> dict[str, str]:
    """An environment as production has it, for `check --deploy`; no address in it answers."""
    return {
        "DEBUG": "false",
        "SECRET_KEY": secrets.token_urlsafe(60),
        "MFA_ENCRYPTION_KEYS": encryption_key(),
        "ALLOWED_HOSTS": "console.example.com",
        "SITE_URL": "https://console.example.com",
        "GATE_URL": "https://gate.example.com",
        "DATABASE_URL": CHECK_DATABASE_URL,
        "MIGRATE_DATABASE_URL": "postgresql://console_owner@127.0.0.1:9/console",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "STRIPE_SECRET_KEY": "sk_live_" + "0" * 24,
        "STRIPE_PUBLISHABLE_KEY": "pk_live_" + "0" * 24,
        "STRIPE_WEBHOOK_SECRET": "whsec_" + "0" * 32,
        "STRIPE_API_BASE": "",
        "STRIPE_JS_URL": "https://js.stripe.com/endive/stripe.js",
        "SELLER_NAME": "Example Platform Inc.",
        "SELLER_ADDRESS": "1 Harbor Street|San Francisco, CA 94105|United States",
        "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",  # pragma: allowlist secret
        "DEFAULT_FROM_EMAIL": "Credit Console <billing@example.com>",
        "DEMO_FOLDER": "",
        "TRUSTED_PROXY_COUNT": "1",
    }
