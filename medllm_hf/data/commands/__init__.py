"""The verbs `data check`, `data build`: parse, call, print."""
