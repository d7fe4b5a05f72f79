"""sentencepiece `tokenizer.model` → fast tokenizer with the same ids, special tokens and a chat template."""

import shutil
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from medllm_hf.errors import UserError, first_line
from medllm_hf.folders import read_json, write_json

TEMPLATES = ("medllm", "baichuan2")
# Baichuan2's role marks; `user_token_id` 195 and `assistant_token_id` 196 of its generation config.
ROLE_TOKENS = ("<reserved_106>", "<reserved_107>")


def chat_template(name: str) -> str:
    """The Jinja text of one of `TEMPLATES`; read as a file because this room imports no other."""
    return (files("medllm_hf") / "chat" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def convert_tokenizer(source: Path, template: str, max_length: int) -> PreTrainedTokenizerFast:
    """A fast tokenizer that gives sentencepiece's ids, adds no token by itself and carries the chat template.

    Published special-token files say `single_word: true`, with which `</s>` right after a Chinese character is not
    recognised; they are therefore not read, and the tokens are `<unk>` (also pad), `<s>`, `</s>`.

    Args:
        source: the folder with `tokenizer.model`.
        template: one of `TEMPLATES`.
        max_length: tokens the model was made for.

    Raises:
        UserError: the file is missing or is not a sentencepiece model.
    """
    if not (source / "tokenizer.model").is_file():
        raise UserError(f"no tokenizer.model in {source}", "the sentencepiece model of the checkpoint", "fetch it too")
    try:
        with TemporaryDirectory() as alone:  # where no tokenizer_config.json has a say
            shutil.copyfile(source / "tokenizer.model", Path(alone) / "tokenizer.model")
            llama = LlamaTokenizer.from_pretrained(alone, legacy=False, add_prefix_space=False, add_bos_token=False)
    except Exception as error:  # sentencepiece and protobuf raise their own kinds for a damaged file
        raise UserError(
            f"damaged {source / 'tokenizer.model'} ({first_line(error)})", "a sentencepiece model", "fetch it again"
        ) from error
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=llama.backend_tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        additional_special_tokens=list(ROLE_TOKENS),
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
        padding_side="left",
    )
    tokenizer.chat_template = chat_template(template)
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves under the class and key names that transformers 4 and vLLM know too, not only transformers 5."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    settings.pop("backend")
    write_json(path, settings)
