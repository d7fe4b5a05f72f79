"""The verb `verify` and what `push_to_hub.py` does: parse, call, print."""
