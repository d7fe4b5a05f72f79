"""Personal data in text: patterns, validators, masking."""
