from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Keeps the audit of what people do to their own account: django and allauth announce it by signal only."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "accounts"
    verbose_name = "People and organizations"

    def ready(self) -> None:
        from allauth.account import signals as account_signals
        from django.contrib.auth import signals

        from accounts import audit

        signals.user_logged_in.connect(audit.record_sign_in, dispatch_uid="audit sign-in")
        signals.user_logged_out.connect(audit.record_sign_out, dispatch_uid="audit sign-out")
        signals.user_login_failed.connect(audit.record_failed_sign_in, dispatch_uid="audit failed sign-in")
        for signal, action in (
            (account_signals.password_set, "password.set"),
            (account_signals.password_changed, "password.changed"),
            (account_signals.password_reset, "password.reset"),
            (account_signals.email_confirmed, "email.confirmed"),
            (account_signals.email_changed, "email.changed"),
            (account_signals.email_added, "email.added"),
            (account_signals.email_removed, "email.removed"),
        ):
            signal.connect(audit.record_own_change(action=action), weak=False, dispatch_uid=f"audit {action}")
