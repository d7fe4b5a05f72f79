"""Every recipe: a header, keys that the pinned TRL knows, values of the right type, paths that exist."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from trl.scripts.sft import make_parser

from medllm_hf.errors import UserError
from medllm_hf.training.sft import read_recipe

RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))
PATH_KEYS = ("deepspeed", "accelerate_config", "chat_template_path")


def test_there_are_recipes():
    assert {"sft_full.yaml", "sft_lora.yaml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe_parses_strictly(path):
    recipe = read_recipe(str(path))
    needed = ["--model_name_or_path", "org/model", "--dataset_name", "org/data", "--output_dir", "out"]
    parsed = make_parser().parse_args_and_config(["--config", str(path), *needed], fail_with_unknown_args=True)
    values = {key: value for part in parsed for key, value in vars(part).items()}
    for key, expected in recipe.items():
        if isinstance(expected, int | float):
            assert values[key] == expected, key
        # PyYAML reads 2e-5 as text and 2.0e-5 as a number.
        assert not (isinstance(expected, str) and re.fullmatch(r"[\d.]+e-?\d+", expected)), key
    for key in PATH_KEYS:
        if recipe.get(key):
            assert (ROOT / recipe[key]).exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe_has_a_header_and_a_table_row(path):
    text = path.read_text(encoding="utf-8")
    for line in ("# What:", "# Hardware:", "# Launch:", "# Expected:"):
        assert line in text
    name = str(path.relative_to(ROOT))
    assert name in text, "the launch line names the recipe itself"
    assert str(Path(name).relative_to("recipes")) in (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")


def test_a_misspelt_key_is_refused(tmp_path):
    recipe = yaml.safe_load((ROOT / "recipes" / "tiny" / "sft_full.yaml").read_text(encoding="utf-8"))
    recipe["max_seq_length"] = recipe.pop("max_length")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(UserError, match="max_seq_length.*max_length"):
        read_recipe(str(tmp_path / "old.yaml"))
