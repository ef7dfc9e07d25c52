"""The wing that brings money in. It uses ``billing.credits``; the reverse is forbidden."""
