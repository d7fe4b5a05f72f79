"""Dialogues and multiple-choice questions from outside become validated records."""
