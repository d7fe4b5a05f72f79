"""Recipes with other trainers' keys: each is told what it is called here, all at once."""

import pytest
from trl.scripts.sft import make_parser

from medllm_hf.errors import UserError
from medllm_hf.training.option_names import OPTIONS, counterpart
from medllm_hf.training.sft import check_options

KNOWN = {action.dest for action in make_parser()._actions}
OTHER_RECIPE = """\
stage: sft
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: own
template: qwen
cutoff_len: 1024
learning_rate: 1.0e-4
"""


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_counterpart_is_an_option_and_no_option_has_one(name):
    option = OPTIONS[name]
    assert not option or option.startswith("--") or option.split()[0] in KNOWN
    assert name not in KNOWN or name in ("warmup_ratio", "group_by_length")  # the oldest transformers have them


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora_rank", "lora_r"), ("cutoff_len", "max_length"), ("stage", ""),
        ("val_size", "--test-fraction of `medllm data build`"),
        ("learning_rat", "learning_rate"), ("per_device_batch_size", "per_device_train_batch_size"), ("zebra", None),
    ],
)  # fmt: skip
def test_a_name_has_its_counterpart_by_meaning_and_then_by_letters(name, expected):
    assert counterpart(name, KNOWN) == expected


def test_all_wrong_keys_are_told_in_one_line(tmp_path, refused):
    recipe = tmp_path / "other.yaml"
    recipe.write_text(OTHER_RECIPE)
    error = refused("sft", "--config", str(recipe))
    wanted = [
        *("lora_r for lora_rank", "max_length for cutoff_len", "lora_target_modules for lora_target", "nothing for stage"),
        *("dataset_name for dataset", "chat_template_path", "use_peft (true for lora) for finetuning_type"),
    ]
    for said in wanted:
        assert said in error, error
    assert "learning_rate" not in error


def test_a_single_one_and_one_that_nobody_knows():
    with pytest.raises(UserError, match="key cutoff_len in r.yaml: expected max_length|max_length"):
        check_options(["cutoff_len"], "key {} in r.yaml")
    with pytest.raises(UserError, match="an option of `trl sft`"):
        check_options(["zebra"], "key {} in r.yaml")
    with pytest.raises(UserError, match="nothing for zebra, stage"):
        check_options(["zebra", "stage", "lr"], "key {} in r.yaml")
