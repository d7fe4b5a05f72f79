"""Dialogues that a judge model scores by a rubric."""
