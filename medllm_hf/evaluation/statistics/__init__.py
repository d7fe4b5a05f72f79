"""Intervals and tests of significance, in closed form or by drawing cases again."""
