from django.db import migrations, models

_GUARD = """
DROP TRIGGER lot_update_guarded ON public.billing_creditlot;
CREATE TRIGGER lot_update_guarded
BEFORE UPDATE OF id, organization_id, kind, granted_nano, effective_at, expires_at, purchase_id, label, reason, actor_id{more}
ON public.billing_creditlot FOR EACH ROW EXECUTE FUNCTION public.credits__guard_lot();
"""


class Migration(migrations.Migration):
    """Let a key made with staff's form decide that one lot comes of it, and give staff their view of organizations."""

    dependencies = [
        ("accounts", "0002_audit_events_are_immutable"),
        ("billing", "0003_purchase_sender_and_detached_cards"),
    ]

    operations = [
        migrations.AddField(
            model_name="creditlot",
            name="grant_key",
            field=models.UUIDField(help_text="Made when staff's form was rendered: one key, one lot.", null=True),
        ),
        migrations.AddConstraint(
            model_name="creditlot",
            constraint=models.UniqueConstraint(
                condition=models.Q(("grant_key__isnull", False)),
                fields=("organization", "grant_key"),
                name="lot_one_per_grant_key",
            ),
        ),
        # The key is part of what a lot was granted as, so the guard of lots covers it too.
        migrations.RunSQL(_GUARD.format(more=", grant_key"), _GUARD.format(more="")),
        migrations.AlterModelOptions(
            name="creditlot",
            options={"permissions": [("give_promotional_credit", "Can give promotional credit")]},
        ),
        migrations.CreateModel(
            name="BillingAccount",
            fields=[],
            options={
                "verbose_name": "billing account",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("accounts.organization",),
        ),
    ]
