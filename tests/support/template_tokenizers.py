"""Tiny tokenizers for any chat template: bytes, a pair of line breaks as one token, and the control tokens that it spells."""

import re
from pathlib import Path

import trl
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TRL_TEMPLATES = Path(trl.__file__).parent / "chat_templates"
# Token names as the templates of TRL and of this project write them.
CONTROL = re.compile(
    r"<[|｜][^<>\s{}'\"]{1,40}[|｜]>|</?s>|<(?:end_of_turn|start_of_turn|end_of_utterance|sop)>|<\|turn>|<turn\|>|\[gMASK\]|<reserved_10[67]>"
)


def tokenizer_for(template: str, bos: str = "<s>", eos: str = "</s>", extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer with `template`, whose control tokens are all that the template spells, `bos`, `eos` and `extra`."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, "ĊĊ"])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ċ", "Ċ")]))
    # Line breaks stay together wherever they stand, as in the tokenizers of Qwen and Llama 3.
    breaks = pre_tokenizers.Split(Regex(r"\s*[\r\n]+"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([breaks, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    names = dict.fromkeys([bos, eos, *extra, *CONTROL.findall(template)])
    inner.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=eos, pad_token=eos, chat_template=template)


def trl_template(name: str) -> str:
    """The text of one of TRL's own template files."""
    return (TRL_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
