from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Keeps the audit of what people do to their own account: django and allauth announce it by signal only."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "accounts"
    verbose_name = "People and organizations"

    def ready(self) -> None:
        from allauth.account import signals as account_signals
        from allauth.mfa import signals as factor_signals
        from allauth.mfa.models import Authenticator
        from django.contrib.auth import signals
        from django.db.models.signals import pre_save

        from accounts import audit, second_factors
        from accounts.middleware import rate_limits, session_age

        signals.user_logged_in.connect(audit.record_sign_in, dispatch_uid="audit sign-in")
        signals.user_logged_out.connect(audit.record_sign_out, dispatch_uid="audit sign-out")
        account_signals.email_changed.connect(audit.record_email_change, dispatch_uid="audit email change")
        signals.user_login_failed.connect(audit.record_failed_sign_in, dispatch_uid="audit failed sign-in")
        for right in (account_signals.authentication_step_completed, account_signals.password_changed):
            right.connect(rate_limits.give_back_tries, dispatch_uid="give back tries")
        signals.user_logged_in.connect(session_age.begin_session, dispatch_uid="begin session")
        for chosen in (account_signals.password_changed, account_signals.password_set, account_signals.password_reset):
            chosen.connect(session_age.end_others_after_new_password, dispatch_uid="end other sessions")
        account_signals.password_reset.connect(rate_limits.forget_failures, dispatch_uid="forget failures")
        for signal, action in (
            (account_signals.password_set, "password.set"),
            (account_signals.password_changed, "password.changed"),
            (account_signals.password_reset, "password.reset"),
            (account_signals.email_confirmed, "email.confirmed"),
            (account_signals.email_added, "email.added"),
            (account_signals.email_removed, "email.removed"),
        ):
            signal.connect(audit.record_own_change(action=action), weak=False, dispatch_uid=f"audit {action}")
        for factor_signal, receiver in (
            (factor_signals.authenticator_added, second_factors.note_added),
            (factor_signals.authenticator_removed, second_factors.note_removed),
            (factor_signals.authenticator_reset, second_factors.note_reset),
            (factor_signals.authenticator_used, second_factors.note_used),
            (factor_signals.authentication_failed, second_factors.note_failed),
        ):
            factor_signal.connect(receiver, dispatch_uid=f"second factors: {receiver.__name__}")
        pre_save.connect(second_factors.mark_as_seen, sender=Authenticator, dispatch_uid="recovery codes are seen")
