"""A conversation equals `model.generate` on the whole history, token for token, whatever was kept from the turns before."""

import random
from threading import Event, Thread

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, FalconMambaConfig, Lfm2Config, MistralConfig

from medllm_hf.chat import ChatSession
from medllm_hf.errors import UserError

WORDS = [
    *("头痛", "三天了", "发热", "咳嗽", "怎么办", "吃药吗", "还有恶心", "谢谢"),
    *("血压高", "🩺", "headache", "睡不好", "龘", "要检查吗", "多久能好"),
]
NEW_TOKENS = 10
CONTEXT = 100
ENDS = [2, 195, 196]
SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 4000}
SMALL |= {"num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def loaded(tiny):
    return AutoModelForCausalLM.from_pretrained(tiny["base"]), AutoTokenizer.from_pretrained(tiny["base"])


class Anew:
    """What plain transformers gives on the whole history, from the beginning each time."""

    def __init__(self, model, tokenizer, **settings):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        torch.manual_seed(7)
        self.state = torch.get_rng_state()
        self.dropped = 0

    def answer(self, messages: list[dict]) -> tuple[list[int], str]:
        """All ids, and the text of the answer."""
        first, rest = [m for m in messages if m["role"] == "system"], [m for m in messages if m["role"] != "system"]
        self.dropped = 0
        while len(prompt := self.prompt([*first, *rest])) + NEW_TOKENS > self.model.config.max_position_embeddings:
            rest = rest[2:]
            self.dropped += 2
        torch.set_rng_state(self.state)
        ids = torch.tensor([prompt])
        with torch.no_grad():
            whole = self.model.generate(
                ids, attention_mask=ids**0, max_new_tokens=NEW_TOKENS, eos_token_id=ENDS, **self.settings
            )[0].tolist()
        self.state = torch.get_rng_state()
        written = [token for token in whole[len(prompt) :] if token not in ENDS]
        return whole, self.tokenizer.decode(written, skip_special_tokens=True)

    def prompt(self, messages: list[dict]) -> list[int]:
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def turn(rng: random.Random, session: ChatSession, number: int) -> tuple[list[dict], list[str]]:
    """Asks, retries, edits or takes back; the messages that were answered, and the pieces of the answer."""
    action = rng.choice(("ask", "ask", "ask", "retry", "edit", "undo")) if number else "ask"
    if action == "retry":
        last = max(i for i, message in enumerate(session.messages) if message["role"] == "user")
        messages = session.messages[: last + 1]
        return messages, list(session.retry())
    if action == "edit":
        place = rng.randrange(len(session.messages))
        session.messages[place]["content"] = rng.choice(WORDS) + "，改"
    if action == "undo":
        session.undo()
    text = "".join(rng.choices(WORDS, k=rng.randint(2, 7)))
    messages = [*session.messages, {"role": "user", "content": text}]
    return messages, list(session.stream(text))


def converse(model, tokenizer, seed: int, **settings) -> tuple[int, int, int]:
    """Has one conversation both ways; tokens that the session read, that reading anew takes, and turns that were cut."""
    rng = random.Random(seed)
    session = ChatSession(model, tokenizer, seed=7, max_new_tokens=NEW_TOKENS, **settings)
    anew = Anew(model, tokenizer, **settings)
    if seed % 3 == 0:
        session.messages = [{"role": "system", "content": "你是医生。"}]
    read = cut = 0
    for number in range(8):
        messages, pieces = turn(rng, session, number)
        ids, text = anew.answer(messages)
        assert session.backend.prompt_cache.ids == ids[:-1]
        assert "".join(pieces) == text
        assert session.messages == [*messages, {"role": "assistant", "content": text}]
        assert session.stopped == ("limit" if ids[-1] not in ENDS else "eos" if ids[-1] == 2 else "turn")
        assert session.dropped == anew.dropped
        read += len(ids) - 1
        cut += session.dropped > 0
    return session.backend.prompt_cache.read, read, cut


@pytest.mark.parametrize("settings", [{"do_sample": False}, {}, {"temperature": 1.5, "top_k": 200}], ids=str)
@pytest.mark.parametrize("conversations", [range(4), pytest.param(range(4, 30), marks=pytest.mark.slow)], ids=len)
def test_kept_and_anew_are_equal(tiny, conversations, settings, monkeypatch):
    model, tokenizer = loaded(tiny)
    monkeypatch.setattr("medllm_hf.chat.prompt_cache.ROOM", 3)  # so that it grows again and again
    model.config.max_position_embeddings = CONTEXT
    results = [converse(model, tokenizer, seed, **settings) for seed in conversations]
    kept, anew, cut = (sum(column) for column in zip(*results, strict=True))
    assert kept < anew
    assert 0 < cut < 8 * len(conversations)


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SMALL, sliding_window=12, max_position_embeddings=CONTEXT),
        Lfm2Config(**SMALL, layer_types=["conv", "full_attention"], max_position_embeddings=CONTEXT),
        FalconMambaConfig(**SMALL, state_size=4, max_position_embeddings=CONTEXT),
    ],
    ids=lambda config: config.model_type,
)
def test_models_whose_cache_cannot_be_cut(tiny, config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    kept, anew, _ = converse(model, AutoTokenizer.from_pretrained(tiny["base"]), 1, do_sample=False)
    assert kept == anew


def test_only_new_tokens_are_read(tiny):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=NEW_TOKENS)
    list(session.stream("头痛三天"))
    kept = list(session.backend.prompt_cache.ids)
    before = session.backend.prompt_cache.read
    list(session.stream("还有发热"))
    whole = session.backend.prompt_cache.ids
    assert whole[: len(kept)] == kept
    assert session.backend.prompt_cache.read - before == len(whole) - len(kept)


def test_what_is_kept_counts(tiny):
    """Were the kept keys and values another conversation's, the answer would be another."""
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=NEW_TOKENS)
    first = list(session.stream("头痛三天"))
    session.reset()
    list(session.stream("发热咳嗽，吃什么药"))
    reader = session.backend.prompt_cache
    reader.ids = session.tokenizer.apply_chat_template([{"role": "user", "content": "头痛三天"}], return_dict=False)
    assert list(session.chat([{"role": "user", "content": "头痛三天"}])) != first


def test_long_prompts_are_read_in_parts(tiny, monkeypatch):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=NEW_TOKENS)
    messages = [{"role": "user", "content": "头痛三天怎么办" * 20}]
    whole = session.chat(messages)
    monkeypatch.setattr("medllm_hf.chat.prompt_cache.CHUNK", 7)
    session.reset()
    assert session.chat(messages) == whole


def test_sessions_share_the_model_and_nothing_else(tiny):
    session = ChatSession(*loaded(tiny), seed=1, max_new_tokens=30, temperature=1.0)
    alone = ["".join(session.stream(text)) for text in ("头痛", "发热")]
    forks = [session.fork(seed=1) for _ in range(4)]
    answers: dict[int, list[str]] = {}

    def talk(number: int) -> None:
        answers[number] = ["".join(forks[number].stream(text)) for text in ("头痛", "发热")]

    threads = [Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(4), alone)
    assert all(fork.model is session.model for fork in forks)


def test_stop_keeps_what_came(tiny):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=200)
    whole = "".join(session.stream("头痛"))
    session.undo()
    got, came = [], Event()

    def listen() -> None:
        for piece in session.stream("头痛"):
            got.append(piece)
            came.set()

    listener = Thread(target=listen)
    listener.start()
    came.wait(60)
    session.stop()
    listener.join(60)
    answer = session.messages[-1]["content"]
    assert session.stopped == "stopped"
    assert answer == "".join(got) and whole.startswith(answer) and "" != answer != whole
    assert list(session.stream("发热"))  # the stop is over


def test_a_closed_generator_keeps_what_came_and_one_that_said_nothing_leaves_no_trace(tiny):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=20)
    answer = session.stream("头痛")
    piece = next(answer)
    answer.close()
    assert [message["content"] for message in session.messages] == ["头痛", piece]
    answer = session.stream("发热")
    session.stop()
    assert list(answer) == [] and session.stopped == "stopped"
    assert [message["content"] for message in session.messages] == ["头痛", piece]


def test_history_survives_a_file(tiny, tmp_path):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=5)
    list(session.stream("头痛🩺"))
    session.save(tmp_path / "talk.json")
    other = session.fork()
    other.load(tmp_path / "talk.json")
    assert other.messages == session.messages
    for text in ("[]", "{}", '{"messages": [{"role": "doctor", "content": ""}]}', '{"messages": [{"role": "user"}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError):
            other.load(tmp_path / "bad.json")
    for place in (tmp_path, tmp_path / "missing" / "talk.json"):
        with pytest.raises(UserError):
            session.save(place)
    assert other.messages == session.messages


def test_undo_and_retry(tiny):
    session = ChatSession(*loaded(tiny), seed=5, max_new_tokens=8, temperature=2.0)
    for action in (session.undo, session.retry):
        with pytest.raises(UserError, match="no question"):
            action()
    list(session.stream("头痛"))
    list(session.stream("发热"))
    before = [dict(message) for message in session.messages]
    answer = "".join(session.retry())
    assert session.messages[:3] == before[:3] and session.messages[3]["content"] == answer != before[3]["content"]
    unread = session.retry()
    session.stop()
    assert list(unread) == [] and session.messages[3]["content"] == answer
    with pytest.raises(UserError, match="temperature"):
        session.retry(temperature=-1)
    assert session.messages[3]["content"] == answer
    assert session.undo() == "发热" and session.messages == before[:2]


def test_a_history_that_is_cut_says_so_and_nothing_else_does(tiny, caplog):
    session = ChatSession(*loaded(tiny), do_sample=False, max_new_tokens=4)
    session.messages = [{"role": role, "content": "头痛三天" * 60} for _ in range(9) for role in ("user", "assistant")]
    list(session.stream("咳嗽"))
    assert session.dropped > 0 and len(session.messages) == 20
    assert caplog.text == ""
