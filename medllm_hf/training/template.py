"""The chat template that is trained with, which is the one that is saved, and the token that ends an answer in it."""

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import get_training_chat_template

from medllm_hf.errors import UserError
from medllm_hf.folders import read_text
from medllm_hf.pretrained import load_generation_config, load_tokenizer
from medllm_hf.templates.answer_end import answer_end
from medllm_hf.templates.rendering import render, template_text

if TYPE_CHECKING:
    from trl import SFTConfig

    from medllm_hf.training.rows import Dialogue

# What strftime knows of a date, the doubled sign last.
_DATE_FORMS = [f"%{form}" for form in (*"aAbBcdDeFgGhHIjklmMpPrRsSTuUVwWxXyYzZ", "-d", "-m", "-H", "-I", "-M", "-j", "%")]
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARKS_END = re.compile(r"\{%-?\s*endgeneration\s*-?%\}")
_DEFAULT = "{%- set enable_thinking = enable_thinking if enable_thinking is defined else "
# Where a template opens a thought for the model to go on with: the end of a literal, after its generation prompt begins.
_OPENED = re.compile(r"(['\"])((?:(?!\1).)*)(<think>\\n)\1")


@dataclass(frozen=True)
class TrainingTemplate:
    """A chat template with what training has to know of it.

    Attributes:
        text: The Jinja text; with generation marks where the model's own has them or TRL knows the model.
        closing: The ids that end an answer, the last one being the stop token; empty where the template writes none, so that
            the end token is a label alone.
        tail: Plain text that the template writes after an answer, where `closing` is empty.
        stop: The id that the model has to write at the end of an answer.
        thinks: Whether `enable_thinking` changes what it writes.
        day: The date, as 2026-11-29, that it is rendered with where it asks for today's; a run keeps that of its first day.
    """

    text: str
    closing: tuple[int, ...]
    tail: str
    stop: int
    thinks: bool
    day: str | None = None

    @property
    def dated(self) -> str:
        """The Jinja text that a run renders, in which today is `day`."""
        return dated_text(self.text, self.day) if self.day else self.text


def read_template(tokenizer: PreTrainedTokenizerBase, day: str | None = None) -> TrainingTemplate:
    """The template to train with: the tokenizer's own when it has generation marks or TRL does not know it, else TRL's.

    A generation prompt that always opens a thought gets a switch, since most dialogues have none. `day` takes the place of
    today where the template asks for the date.

    Raises:
        UserError: there is no template, no end token, or the template cannot write a question and its answer.
    """
    text = template_text(tokenizer)
    if not has_marks(text):
        text = _known_to_trl(tokenizer, text) or text
    text = with_thinking_switch(text)
    closing, tail = answer_end(tokenizer, text)
    configured = stop_ids(tokenizer)
    ends = next((i for i, id in enumerate(closing) if id in configured), len(closing) - 1)
    closing = closing[: ends + 1]
    if not closing and tokenizer.eos_token_id is None:
        raise UserError(f"no end token in {tokenizer.name_or_path}", "an eos_token", "name one with --eos_token")
    stop = closing[-1] if closing else tokenizer.eos_token_id
    day = (day or date.today().isoformat()) if "strftime_now" in text else None
    return TrainingTemplate(text, closing, "" if closing else tail, stop, _thinks(tokenizer, text), day)


def dated_text(text: str, day: str) -> str:
    """`text` in which `strftime_now` gives the date `day`, as 2026-11-29, at midnight.

    transformers hands functions to a template as their names, so it is a macro that fills in what Python's strftime gives.
    """
    fields = "".join(f" | replace('{form}', '{date.fromisoformat(day).strftime(form)}')" for form in _DATE_FORMS)
    # The line break is the one that transformers takes away after a block; what the template begins with stays.
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{fields} }}}}{{%- endmacro %}}\n{text}"


def has_marks(text: str) -> bool:
    """Whether a chat template says by generation marks what the assistant writes."""
    return bool(_MARKS.search(text))


def marked_text(tokenizer: PreTrainedTokenizerBase, template: TrainingTemplate, dialogue: "Dialogue") -> str:
    """What stands between the generation marks when a `Dialogue` is rendered."""
    opened, closed = "\ue000", "\ue001"  # private characters, which no text of a dialogue has
    text = _MARKS.sub(lambda mark: mark[0] + f"{{{{- '{opened}' -}}}}", template.dated)
    text = _MARKS_END.sub(lambda mark: f"{{{{- '{closed}' -}}}}" + mark[0], text)
    variables: dict[str, Any] = {"enable_thinking": dialogue.reasons} if template.thinks else {}
    whole = render(tokenizer, dialogue.messages, tools=dialogue.tools, template=text, **variables)
    return "".join(re.findall(f"{opened}(.*?){closed}", whole, flags=re.DOTALL))


def _known_to_trl(tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
    own = tokenizer.chat_template
    tokenizer.chat_template = text  # of several named ones TRL is asked about this one
    try:
        return get_training_chat_template(tokenizer)
    except Exception:  # TRL renders probes of tool calls first, and what a template raises then is of any kind
        return None
    finally:
        tokenizer.chat_template = own


def with_thinking_switch(text: str) -> str:
    """`text` in which a thought that the generation prompt always opens can be left out by `enable_thinking=false`."""
    prompt = text.rfind("add_generation_prompt")
    if "enable_thinking" in text or prompt < 0:
        return text
    switch = r"\1\2\1 ~ (\1\3\1 if enable_thinking is not defined or enable_thinking else \1\1)"
    return text[:prompt] + _OPENED.sub(switch, text[prompt:])


def with_thinking_default(text: str, enabled: bool) -> str:
    """`text` in which `enable_thinking` is `enabled` wherever nobody says otherwise."""
    value = "true" if enabled else "false"
    # The line break is the one that transformers takes away after a block; what the template begins with stays.
    return f"{_DEFAULT}{value} %}}\n{text.partition('%}')[2][1:] if text.startswith(_DEFAULT) else text}"


def saved_template(tokenizer: PreTrainedTokenizerBase, thinks: bool, enable_thinking: bool | None) -> str | dict[str, str]:
    """The Jinja text to save with the model, so that whoever renders it sends what was trained, without a flag.

    Of several named templates the default is the one that is trained; the others stay beside it as they are.

    Args:
        thinks: whether most of the dialogues that were trained think.
        enable_thinking: what the user said of it.
    """
    template, own = read_template(tokenizer), tokenizer.chat_template
    text = template.text
    if template.thinks:
        text = with_thinking_default(text, thinks if enable_thinking is None else enable_thinking)
    return {**own, "default": text} if isinstance(own, dict) else text


def _thinks(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    asked = [{"role": "user", "content": "asked"}]
    on, off = (
        render(tokenizer, asked, add_generation_prompt=True, template=text, enable_thinking=value) for value in (True, False)
    )
    return on != off


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids that end an answer by configuration: the tokenizer's end token and those of the generation config beside it."""
    stops = {tokenizer.eos_token_id}
    # A tokenizer that was made in memory comes from nowhere.
    config = load_generation_config(tokenizer.name_or_path) if tokenizer.name_or_path else None
    if config:
        stops |= set(config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id])
    return stops - {None}


def set_up(tokenizer: PreTrainedTokenizerBase, settings: "SFTConfig", enable_thinking: bool | None = None) -> str | None:
    """Give the tokenizer the chat template and the end token that the recipe names, before anything is tokenised.

    TRL's SFTConfig `settings` is left without a `chat_template_path`, which TRL would apply once more. Where a template ends
    answers with another token than the model's end tokens, as with most base models, that token becomes the end token, and a
    sentence that says so is returned.

    Raises:
        UserError: a template or end token that does not exist, one that the template does not write, or `enable_thinking`
            where the template has no such switch.
    """
    if settings.chat_template_path:
        tokenizer.chat_template = _named_template(settings.chat_template_path)
        settings.chat_template_path = None
    if settings.eos_token is not None:
        if settings.eos_token not in tokenizer.get_vocab():
            raise UserError(f"--eos_token {settings.eos_token}", "a token of the vocabulary", "name another one")
        tokenizer.eos_token = settings.eos_token
    if not tokenizer.chat_template:
        return None  # plain texts and ready ids need none; whatever else there is will miss it
    template = read_template(tokenizer)
    if enable_thinking is not None and not template.thinks:
        found = f"--enable_thinking and a chat template in {tokenizer.name_or_path} that writes the same with it and without"
        raise UserError(found, "a template with such a switch", "leave it out")
    stop = str(tokenizer.convert_ids_to_tokens(template.stop))
    if settings.eos_token is not None and template.stop != tokenizer.eos_token_id:
        found = f"--eos_token {settings.eos_token} with a chat template that ends answers with {stop}"
        raise UserError(found, "the same token", f"use --eos_token {stop} or another --chat_template_path")
    if template.stop in stop_ids(tokenizer):
        return None
    told = f"answers end with {stop} in this template and not with {tokenizer.eos_token}: saved as the end token"
    settings.eos_token = tokenizer.eos_token = stop
    return told


def _named_template(name: str) -> str:
    """The template in a Jinja file, or of the tokenizer in a folder or on the Hub.

    Raises:
        UserError: there is none.
    """
    if name.endswith((".jinja", ".j2")):
        return read_text(name)
    return template_text(load_tokenizer(name, chat=True))
