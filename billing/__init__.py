"""Prepaid credits: bought, spent, expired and proven."""
