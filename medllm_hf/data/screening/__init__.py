"""What a dataset should not hold: near-duplicates, held-out questions, personal data."""
