"""The pages: access, form, use case, redirect. What they show is read from billing.credits and billing.payments."""
