"""The words of exam prompts, by language ("zh", "en") and kind of question ("single", "multi")."""

KINDS = ("single", "multi")
# Begins the answer, in solved examples and where letters are compared.
REPLY_PREFIX = {"zh": "答案：", "en": "Answer: "}
# A short reply: the letters alone.
INSTRUCTION = {
    "zh": {
        "single": "请回答下面的单项选择题，只写出正确选项的字母。",
        "multi": "请回答下面的多项选择题，写出所有正确选项的字母。",
    },
    "en": {
        "single": "Answer the following multiple-choice question. One option is right: write only its letter.",
        "multi": "Answer the following multiple-choice question. "
        "Several options may be right: write the letters of all of them.",
    },
}
# Free reasoning with the answer at its end.
REASONING_INSTRUCTION = {
    "zh": {
        "single": "请回答下面的单项选择题。先逐项分析，最后另起一行，在“答案：”后写出正确选项的字母。",
        "multi": "请回答下面的多项选择题。先逐项分析，最后另起一行，在“答案：”后写出所有正确选项的字母。",
    },
    "en": {
        "single": "Answer the following multiple-choice question, of which one option is right. "
        'Think about the options first; then write the letter of the right one on a line of its own, after "Answer: ".',
        "multi": "Answer the following multiple-choice question, of which several options may be right. "
        'Think about the options first; then write the letters of all right ones on a line of its own, after "Answer: ".',
    },
}
# Asks once more after a reply without a letter that can be read.
LETTERS_ALONE = {
    "zh": {"single": "请只写出你所选选项的字母，不写别的。", "multi": "请只写出你所选全部选项的字母，不写别的。"},
    "en": {
        "single": "Write the letter of the option that you choose, and nothing else.",
        "multi": "Write the letters of all options that you choose, and nothing else.",
    },
}
