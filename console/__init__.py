"""Wires accounts and billing into one product; nothing imports it."""

from console.celery import app as celery_app

__all__ = ["celery_app"]
