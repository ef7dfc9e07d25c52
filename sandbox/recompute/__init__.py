"""Computes what a trace of usage costs, from the CSV and a price file alone: a second opinion on the bill."""
