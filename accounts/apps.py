from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Keeps the audit of sign-ins: django and allauth announce them by signal only."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "accounts"
    verbose_name = "People and organizations"

    def ready(self) -> None:
        from django.contrib.auth import signals

        from accounts import audit

        signals.user_logged_in.connect(audit.record_sign_in, dispatch_uid="audit sign-in")
        signals.user_logged_out.connect(audit.record_sign_out, dispatch_uid="audit sign-out")
        signals.user_login_failed.connect(audit.record_failed_sign_in, dispatch_uid="audit failed sign-in")
