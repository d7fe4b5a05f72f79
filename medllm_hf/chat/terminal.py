"""The verb `chat`: a conversation in the terminal, or a question a line when input is piped."""

import sys

from medllm_hf.chat.session import ChatSession, seeded

DISCLAIMER = "本模型的回答不能代替医生的诊断。The answers do not replace a doctor's diagnosis."
COMMANDS = "clear: new conversation · exit: leave"


def chat(model: str, seed: int | None = None) -> None:
    """Answers each line of standard input until `exit` or its end; see `COMMANDS`."""
    session = ChatSession.from_pretrained(model)
    seeded(seed)
    print(DISCLAIMER, COMMANDS, sep="\n", file=sys.stderr)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line == "exit":
            return
        if line == "clear":
            session.reset()
        elif line:
            for piece in session.stream(line):
                print(piece, end="", flush=True)
            print()
