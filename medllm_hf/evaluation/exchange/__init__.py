"""Runs from and to other programs."""
