"""Published runs done again from their raw outputs."""
