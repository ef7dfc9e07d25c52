from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Tells accounts what it asks for: words for amounts, more people to tell, what follows a changed membership."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "billing"
    verbose_name = "Billing"

    def ready(self) -> None:
        from accounts import audit_words, closing, memberships, notices
        from billing import contacts
        from billing.money import dollars_text, exact_text
        from billing.payments import closing as billing_closing

        notices.extra_recipients.append(contacts.confirmed_addresses)
        memberships.followers.append(contacts.note_change)
        closing.parts.append(billing_closing.PART)
        audit_words.UNITS.update({"_cents": dollars_text, "_nano": lambda nano: str(exact_text(nano))})
