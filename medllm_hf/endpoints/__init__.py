"""Chat servers that take OpenAI-style requests: their addresses, a client, and a local one."""
