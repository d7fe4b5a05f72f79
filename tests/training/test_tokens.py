"""Training ids and labels: exactly the assistants' tokens, with the end of every whole answer and of no cut one."""

import json
import random
import re

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from medllm_hf.checkpoint.convert import convert
from medllm_hf.control_tokens import escape_control_tokens
from medllm_hf.errors import UserError
from medllm_hf.training.prepare import prepare
from medllm_hf.training.rows import Dialogue
from medllm_hf.training.run import check_apart
from medllm_hf.training.tokens import IGNORED, encoder

BOS, EOS, USER, ASSISTANT = 1, 2, 195, 196
ENDINGS = ("\n", " ", "\u3000", "。", "]", "7", "🩺", "\n\n", " \n", "é", "\u200b", "")
WORDS = (
    "头痛",
    "发热",
    "血压120/80",
    "mg",
    "CT检查",
    "  ",
    "\n",
    "①",
    "α",
    "</s>",
    "<reserved_106>",
    "<s>",
    "🤒",
    "㎎",
    "癌",
    ".",
    "A",
)


@pytest.fixture(scope="module", params=["medllm", "baichuan2"])
def tokenizer(request, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "base"
    convert(str(tiny["source"]), str(folder), template=request.param)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.format = request.param
    return tokenizer


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(escape_control_tokens(text), add_special_tokens=False)["input_ids"]


def encode_with(tokenizer, max_length):
    """A function messages → `Encoded`."""
    encode = encoder(tokenizer, max_length)
    return lambda messages: encode(Dialogue(messages))


def by_hand(tokenizer, messages) -> tuple[list[int], list[int]]:
    """Ids and labels written down from the description of the two formats, piece by piece."""
    ids, labels, closing = [], [], False
    if tokenizer.format == "medllm":
        ids, labels = [BOS], [IGNORED]
    for message in messages:
        text = ids_of(tokenizer, message["content"])
        if message["role"] == "system":
            ids, labels = ids + text, labels + [IGNORED] * len(text)
        elif message["role"] == "user":
            ids += [USER, *text]
            labels += [EOS if closing else IGNORED] + [IGNORED] * len(text)
        elif tokenizer.format == "medllm":
            ids += [ASSISTANT, *text, EOS]
            labels += [IGNORED, *text, EOS]
        else:
            ids += [ASSISTANT, *text]
            labels += [IGNORED, *text]
            closing = True
    return (ids + [EOS], labels + [EOS]) if tokenizer.format == "baichuan2" else (ids, labels)


def dialogues(count: int, seed: int = 0) -> list[list[dict]]:
    """Random dialogues of one to five rounds, some with a system turn, whose answers end in every odd way."""
    source = random.Random(seed)

    def text() -> str:
        return "".join(source.choices(WORDS, k=source.randint(1, 12)))

    rows = []
    for _ in range(count):
        turns = [{"role": "system", "content": text()}] if source.random() < 0.2 else []
        for _ in range(source.randint(1, 5)):
            turns.append({"role": "user", "content": text()})
            turns.append({"role": "assistant", "content": "答" + text() + source.choice(ENDINGS)})
        rows.append(turns)
    return rows


def test_ids_and_labels_equal_those_made_by_hand(tokenizer):
    encode = encode_with(tokenizer, None)
    for messages in dialogues(2000):
        encoded = encode(messages)
        assert (encoded.ids, encoded.labels) == by_hand(tokenizer, messages)


def test_every_answer_ends_in_a_learned_end_and_no_user_turn_has_a_label(tokenizer):
    """D6 and D10, over replies that end in line breaks and spaces."""
    encode = encode_with(tokenizer, None)
    for messages in dialogues(2000, seed=1):
        encoded = encode(messages)
        assert encoded.labels.count(EOS) == encoded.rounds == sum(turn["role"] == "assistant" for turn in messages)
        speaking = False
        for token, label in zip(encoded.ids, encoded.labels, strict=True):
            if token == USER:
                speaking = False
            if token == ASSISTANT:
                speaking = True
                continue
            # Where the format has no end token, the end is the label at the next user's mark.
            assert label == (token if speaking else EOS if token == USER and label == EOS else IGNORED)


def test_history_has_the_ids_that_inference_sends(tokenizer):
    encode = encode_with(tokenizer, None)
    for messages in dialogues(300, seed=2):
        ids = encode(messages).ids
        for i, turn in enumerate(messages):
            if turn["role"] == "assistant":
                sent = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=True)["input_ids"]
                assert ids[: len(sent)] == sent


def test_the_golden_chats_are_what_training_sees(golden, tmp_path):
    """The original code's ids for a history equal the training ids before its answer."""
    convert(str(golden), str(tmp_path / "base"), template="baichuan2")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    encode = encode_with(tokenizer, None)
    rows = [json.loads(line) for line in (golden / "golden_chat.jsonl").read_text(encoding="utf-8").splitlines()]
    compared = 0
    for row in rows:
        if any(re.search(r"<(unk|/?s|reserved_10[67])>", turn["content"]) for turn in row["messages"]):
            continue  # the original code reads these as plain text, here they are defused
        ids = encode([*row["messages"], {"role": "assistant", "content": "好的"}]).ids
        assert ids[: len(row["ids"])] == row["ids"]
        compared += 1
    assert compared >= 100


@pytest.mark.parametrize("length", [16, 40, 90, 200])
def test_over_long_dialogues_lose_whole_rounds(tokenizer, length):
    """D7 and D8."""
    encode, whole = encode_with(tokenizer, length), encode_with(tokenizer, None)
    kept_rounds = 0
    for messages in dialogues(300, seed=3):
        encoded, full = encode(messages), whole(messages)
        assert len(encoded.ids) <= length
        start = 1 if messages[0]["role"] == "system" else 0
        shorter = messages[: start + 2 * encoded.rounds]
        if encoded.rounds:
            assert (encoded.ids, encoded.labels) == by_hand(tokenizer, shorter)
            kept_rounds += encoded.rounds
        else:
            assert encoded.ids == encoded.labels == []
        if encoded.rounds < encoded.rounds_read:
            assert len(by_hand(tokenizer, messages[: start + 2 * (encoded.rounds + 1)])[0]) > length
        else:
            assert encoded == full
    assert kept_rounds


def test_prepare_counts_what_it_does(tokenizer):
    rows = dialogues(200, seed=4)
    dataset = Dataset.from_dict({"messages": rows, "source": ["甲" if i % 3 else "乙" for i in range(200)]})
    prepared = prepare(dataset, tokenizer, 60)
    encoded = [encode_with(tokenizer, 60)(messages) for messages in rows]
    kept = [one for one in encoded if one.rounds]
    assert prepared.read == 200
    assert prepared.left_out == 200 - len(kept) > 0
    assert prepared.shortened == sum(0 < one.rounds < one.rounds_read for one in encoded) > 0
    assert prepared.dataset["input_ids"] == [one.ids for one in kept]
    assert prepared.tokens == sum(len(one.ids) for one in kept)
    assert prepared.trained_tokens == sum(label != IGNORED for one in kept for label in one.labels)
    assert prepared.sources == ["乙", "甲"]
    named = [prepared.sources[number] for number in prepared.dataset["source"]]
    assert named == [source for source, one in zip(dataset["source"], encoded, strict=True) if one.rounds]


def test_refusals(tokenizer, tiny):
    dataset = Dataset.from_dict({"messages": dialogues(20)})
    with pytest.raises(UserError, match="longer than max_length 30"):
        prepare(dataset, tokenizer, 30, over_length="refuse")
    with pytest.raises(UserError, match="without a token to train on"):
        prepare(dataset, tokenizer, 3)
    with pytest.raises(UserError, match="expected messages"):
        prepare(dataset.rename_column("messages", "conversation"), tokenizer, 30)
    template = tokenizer.chat_template
    try:
        system = [
            {"role": "user", "content": "问"},
            {"role": "assistant", "content": "答"},
            {"role": "system", "content": "嘘"},
        ]
        late = Dataset.from_dict({"messages": [*dialogues(3), [*system, *system[:2]]]})
        with pytest.raises(
            UserError, match=r"1 of 4 rows that cannot be trained, the first one row 4: .*role system at message 3"
        ):
            prepare(late, tokenizer, None)
        silent = "{%- else -%}\n{{- raise_exception("
        assert silent in template
        tokenizer.chat_template = template.replace(silent, "{%- elif false -%}\n{{- raise_exception(")
        with pytest.raises(
            UserError, match=r"the first one row 4: message 3 \(system\), which the chat template does not write"
        ):
            prepare(late, tokenizer, None)
        # Marks that begin late, as those of somebody who wants the end of an answer alone.
        tokenizer.chat_template = (
            "{%- for m in messages -%}{{ m.content[:1] }}{%- generation -%}{{ m.content[1:] ~ eos_token }}{%- endgeneration -%}"
            "{%- endfor -%}"
        )
        with pytest.raises(UserError, match="generation marks that leave out"):
            prepare(dataset, tokenizer, None)
        # A template whose generation prompt is not what stands before an answer.
        tokenizer.chat_template = (
            "{%- for m in messages -%}{%- if m.role == 'assistant' -%}A{% generation %}{{ m.content ~ eos_token }}"
            "{% endgeneration %}{%- else -%}{{ m.content }}{%- endif -%}{%- endfor -%}"
            "{%- if add_generation_prompt -%}AA{%- endif -%}"
        )
        with pytest.raises(UserError, match="a history that the chat template writes otherwise than the prompt of an answer"):
            prepare(dataset, tokenizer, None)
    finally:
        tokenizer.chat_template = template


@pytest.mark.parametrize("shared", [0, 2])
def test_dialogues_to_evaluate_on_are_not_trained_on(shared):
    """D29; the rows are slices of one table, as splits often are."""
    rows = Dataset.from_dict({"input_ids": [[1, 2, number] for number in range(20)], "labels": [[1, 2, 3]] * 20})
    train, test = rows.select(range(10 + shared)), rows.select(range(10, 20))
    parts = [prepare(part, None, None) for part in (train, test)]
    if not shared:
        assert check_apart(*parts) is None
        return
    with pytest.raises(UserError, match="2 of 10 dialogues to evaluate on in the training split too"):
        check_apart(*parts)


def test_tokenised_rows_are_taken_as_they_are(tokenizer):
    dataset = Dataset.from_dict({"input_ids": [[1, 5, 6, 2], [1, 7] * 20], "labels": [[IGNORED, IGNORED, 6, 2], [7] * 40]})
    prepared = prepare(dataset, tokenizer, 10)
    assert prepared.dataset["labels"] == [[IGNORED, IGNORED, 6, 2]]
    assert (prepared.read, prepared.left_out, prepared.shortened, prepared.trained_tokens) == (2, 1, 0, 2)
