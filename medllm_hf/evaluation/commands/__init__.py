"""The verbs of `medllm eval` and `medllm report`: they parse, call and print."""
