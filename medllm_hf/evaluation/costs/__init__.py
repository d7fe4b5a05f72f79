"""Prices of tokens, what a run has spent, and what it would spend."""
