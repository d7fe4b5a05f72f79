"""Weights on disk: read, convert, merge. Knows torch and safetensors, nothing of chat or evaluation."""
