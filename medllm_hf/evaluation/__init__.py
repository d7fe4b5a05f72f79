"""Runs a model and writes a run folder."""
