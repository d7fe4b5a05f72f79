"""Streamed answers: whole characters, the same text as decoding at once, and an end where the answer ends."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from medllm_hf.chat import ChatSession
from medllm_hf.chat.pieces import Pieces
from medllm_hf.chat.stops import read_stops
from medllm_hf.control_tokens import control_tokens, escape_control_tokens
from medllm_hf.errors import UserError

# No blank: the vocabulary of the tiny tokenizer has none of its own.
PARTS = [
    *("头痛", "，", "🩺", "👨‍👩‍👧", "🇨🇳", "龘", "𠮷", "é", "e\u0301", "한"),
    *("ไ", "\n", "mg", "℃", "🤒💊", "\u3000", "<s", "ﷺ", "\u200d", "3"),
]
ANSWERS = 500
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
LETTERS = "{% for m in messages %}{{ '\n问：' if m.role == 'user' else '\n答：' }}{{ m.content }}{% endfor %}\n答："
BRACKETS = (
    "{% for m in messages %}{{ '<s>[INST] ' ~ m.content ~ ' [/INST]' if m.role == 'user' else ' ' ~ m.content ~ '</s>' }}"
    "{% endfor %}"
)


def answers(seed: int, count: int = ANSWERS) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randint(1, 5))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny["base"])


@pytest.fixture(scope="module")
def byte_level():
    """A tokenizer of bytes, most characters being several tokens, as of the GPT and Qwen families."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        ["头痛发热，多喝水"], trainers.BpeTrainer(vocab_size=270, special_tokens=["<e>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>")


def streamed(tokenizer, ids: list[int]) -> list[str]:
    pieces = Pieces(tokenizer)
    return [*map(pieces.add, ids), pieces.end()]


@pytest.mark.parametrize("kind", ["tokenizer", "byte_level"])
def test_pieces_of_true_text_are_whole_characters(kind, request):
    tokenizer = request.getfixturevalue(kind)
    for text in answers(1):
        ids = tokenizer.encode(text, add_special_tokens=False)
        pieces = streamed(tokenizer, ids)
        assert "".join(pieces) == text == tokenizer.decode(ids)
        assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("kind", ["tokenizer", "byte_level"])
def test_pieces_of_any_tokens_are_the_decoded_whole(kind, request):
    """Random tokens, half of them single bytes, are mostly no UTF-8 at all."""
    tokenizer = request.getfixturevalue(kind)
    rng = random.Random(2)
    singles = [id for token, id in tokenizer.get_vocab().items() if len(token) == 1 or token.startswith("<0x")]
    for _ in range(ANSWERS):
        ids = [rng.choice(singles) if rng.random() < 0.5 else rng.randrange(len(tokenizer)) for _ in range(rng.randint(1, 20))]
        assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_blank_belongs_to_the_word_after_it():
    """Decoders of the Llama 2 family take the first blank of whatever they are given away."""
    backend = Tokenizer(models.WordLevel({"▁take": 0, "▁two": 1, "▁pills": 2, "?": 3}, unk_token="?"))
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")
    assert streamed(tokenizer, [0, 1, 2, 2]) == ["take", " two", " pills", " pills", ""]
    assert tokenizer.decode([0, 1, 2, 2]) == "take two pills pills"


def test_text_comes_as_soon_as_it_is_certain(tokenizer):
    ids = tokenizer.encode("头痛🩺吗", add_special_tokens=False)
    assert streamed(tokenizer, ids[:1])[:-1] == [tokenizer.decode(ids[:1])]
    pieces = streamed(tokenizer, ids)
    assert "🩺吗" in pieces and "".join(pieces) == "头痛🩺吗"


@contextmanager
def scripted(model, ids: list[int]) -> Iterator[None]:
    """Makes the model, which computes as ever, give the tokens `ids` one after another the greatest logits by far."""
    rest = iter(ids)

    def push(module, inputs, output):
        output[:, -1, next(rest)] += 1e4
        return output

    hook = model.lm_head.register_forward_hook(push)
    try:
        yield
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def session(tiny):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny["base"]), AutoTokenizer.from_pretrained(tiny["base"])
    session = ChatSession(model, tokenizer, seed=1)
    list(session.stream("头痛", max_new_tokens=1))  # the first use of the cache, which is compared, has no script
    return session


def said(session, ids: list[int], **settings) -> list[str]:
    session.reset()
    with scripted(session.model, ids):
        return list(session.stream("头痛", **settings))


@pytest.mark.parametrize("count", [60, pytest.param(ANSWERS, marks=pytest.mark.slow)])
def test_answers_of_a_model_are_whole(session, count):
    for text in answers(3, count):
        pieces = said(session, [*session.tokenizer.encode(text, add_special_tokens=False), 2])
        assert "".join(pieces) == text == session.messages[-1]["content"]
        assert not any("\ufffd" in piece for piece in pieces)
        assert session.stopped == "eos"


def test_an_answer_cut_inside_a_character_says_so(session):
    ids = session.tokenizer.encode("好🩺", add_special_tokens=False)[:-1]
    assert "".join(said(session, ids, max_new_tokens=len(ids))) == session.tokenizer.decode(ids)
    assert session.stopped == "limit"


def test_the_user_s_turn_ends_an_answer(session):
    spell = session.tokenizer.encode
    answer = spell("多喝水。", add_special_tokens=False)
    assert "".join(said(session, [*answer, 195, *answer])) == "多喝水。" and session.stopped == "turn"
    assert "".join(said(session, [*answer, 196, *answer])) == "多喝水。" and session.stopped == "turn"
    letters = [id for part in ("<", "reserved", "_106", ">谢谢") for id in spell(part, add_special_tokens=False)]
    assert 195 not in letters
    pieces = said(session, [*answer, *letters, 2])
    assert "".join(pieces) == "多喝水。" and session.stopped == "turn"
    # A beginning of it alone is text.
    assert "".join(said(session, [*answer, *letters[:-3], 2])) == "多喝水。" + session.tokenizer.decode(letters[:-3])
    assert session.stopped == "eos"


def test_the_end_of_the_context_ends_an_answer(session, monkeypatch):
    monkeypatch.setattr(session.model.config, "max_position_embeddings", 40)
    list(said(session, [400] * 40))
    assert session.stopped == "context"
    assert len(session.writer.reader.ids) == 39
    with pytest.raises(UserError, match="tokens"):
        next(session.stream("头痛" * 40))
    assert [message["role"] for message in session.messages] == ["user", "assistant"]


def with_template(tiny, template: str, *special: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny["base"])
    tokenizer.add_tokens(list(special), special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer, tokenizer.convert_tokens_to_ids(list(special))


def test_stops_are_read_from_the_template(tiny, tokenizer):
    stops = read_stops(tokenizer)
    assert (stops.ends, stops.turns, stops.texts) == ({2}, {195, 196}, ("<reserved_106>",))
    chatml, (start, end) = with_template(tiny, CHATML, "<|im_start|>", "<|im_end|>")
    stops = read_stops(chatml)
    assert (stops.ends, stops.turns, stops.texts) == ({2, end}, {start}, ("<|im_start|>",))
    letters, _ = with_template(tiny, LETTERS)
    stops = read_stops(letters)
    assert (stops.ends, stops.turns, stops.texts) == ({2}, set(), ("\n问：",))
    brackets, _ = with_template(tiny, BRACKETS)
    stops = read_stops(brackets)
    assert (stops.ends, stops.turns, stops.texts) == ({2}, set(), ("\n[INST]",))


def test_a_turn_in_letters_counts_at_the_beginning_of_a_line(tiny):
    tokenizer, _ = with_template(tiny, LETTERS)
    stops = read_stops(tokenizer).texts

    def given(text: str) -> tuple[str, bool]:
        pieces = Pieces(tokenizer, stops)
        return "".join([*map(pieces.add, tokenizer.encode(text, add_special_tokens=False)), pieces.end()]), bool(pieces.stopped)

    assert given("要多问：几次\n好\n问：几点") == ("要多问：几次\n好", True)
    assert given("问：几点") == ("", True)
    assert given("好\n问") == ("好\n问", False)


@pytest.mark.parametrize("special", [("<|im_start|>", "<|im_end|>"), ("[INST]", "[/INST]"), ("｜开始｜", "｜开始｜助手")])
def test_text_never_becomes_a_control_token(tiny, special):
    template = f"{{% for m in messages %}}{special[0]}{{{{ m.content }}}}{special[1]}{{% endfor %}}"
    tokenizer, ids = with_template(tiny, template, *special)
    text = f"a{special[0]}b{special[1]}c</s><reserved_106>" + "".join(special) * 2
    session = ChatSession(AutoModelForCausalLM.from_pretrained(tiny["base"]), tokenizer, max_new_tokens=1)
    session.model.resize_token_embeddings(len(tokenizer))
    session.messages = [{"role": role, "content": text} for role in ("system", "user", "assistant")]
    list(session.stream(text))
    prompt = session.writer.reader.ids
    assert [token for token in prompt if token in control_tokens(tokenizer).values()] == ids * 4
    assert session.messages[0]["content"] == text
    assert escape_control_tokens(escape_control_tokens(text, special), special) == escape_control_tokens(text, special)
