"""The verbs `tiny-base`, `convert`, `merge`: parse, call, print."""
