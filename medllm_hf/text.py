"""Text that cannot turn into control tokens."""

# What the Baichuan family's tokenizers read as ids 0, 1, 2, 195 and 196 wherever it stands in a text.
CONTROL_TOKENS = ("<unk>", "<s>", "</s>", "<reserved_106>", "<reserved_107>")


def neutralised(text: str) -> str:
    """`text` in which no control token is spelt: the `<` that begins one becomes the full-width `＜`.

    So `</s>` is read, shown and learned as the four characters `＜/s>`, and everything else stays as it is, to the byte.
    A text that went through this once is not changed again. The chat templates of this project do the same to every
    message, so whoever renders them (chat, training, evaluation, any server) is safe; call this function for text that
    goes to the tokenizer beside a template, as a scored answer does.
    """
    for token in CONTROL_TOKENS:
        text = text.replace(token, "＜" + token[1:])
    return text
