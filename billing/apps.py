from django.apps import AppConfig


class BillingConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "billing"
    verbose_name = "Billing"

    def ready(self) -> None:
        from accounts import audit_words
        from billing.money import dollars_text, exact_text

        audit_words.UNITS.update({"_cents": dollars_text, "_nano": lambda nano: str(exact_text(nano))})
