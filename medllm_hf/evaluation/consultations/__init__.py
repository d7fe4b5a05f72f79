"""Simulated patients who consult a model, turn by turn."""
