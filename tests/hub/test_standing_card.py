"""A card that stands on the Hub: own words and further metadata are kept, any other edit is shown and refused."""

import json
import sys

import pytest
from support.commands import one_line_error, run
from support.hub_on_disk import start_hub
from support.paths import ROOT

from medllm_hf.errors import UserError
from medllm_hf.folders import read_json
from medllm_hf.hub.cards import SECTION_BEGINS, SECTION_ENDS, own_words
from medllm_hf.hub.standing_card import ShownError, Standing, check_standing, merged_words, more_metadata

PUSH = (sys.executable, "-m", "medllm_hf", "push", "model")
NAME = "org/tiny-7b"


def card(words="ours", tags="- medllm_hf", more="", body="The text."):
    section = f"{SECTION_BEGINS}\n{words}\n{SECTION_ENDS}\n\n" if words is not None else ""
    return f"---\nlicense: mit\n{more}tags:\n{tags}\n---\n\n{section}{body}\n"


PUSHED = card()


@pytest.mark.parametrize(
    ("there", "ours", "kept"),
    [
        (card(), "new", "new"),  # unchanged there
        (card(), None, "ours"),
        (card("edited"), "ours", "edited"),  # changed there alone
        (card("edited"), None, "edited"),
        (card("edited"), "edited", "edited"),
        (card(None), "ours", None),  # taken out there
        (card(None), None, None),
    ],
)
def test_own_words_that_one_side_changed_are_kept(there, ours, kept):
    assert merged_words(Standing(there, PUSHED), ours, replace=False) == kept


def test_own_words_that_both_changed_are_shown_unless_ours_are_to_replace_them():
    both = Standing(card("edited \x1b[2J there"), PUSHED)
    with pytest.raises(ShownError, match="own words that were edited on the Hub") as refused:
        merged_words(both, "edited here", replace=False)
    shown = "\n".join(refused.value.lines)
    assert r"- edited \x1b[2J there" in shown and "+ edited here" in shown
    assert merged_words(both, "edited here", replace=True) == "edited here"


def test_words_of_a_card_that_was_never_pushed_are_kept_too():
    assert merged_words(Standing(card("theirs"), None), None, replace=False) == "theirs"
    assert merged_words(Standing(), "ours", replace=False) == "ours"
    assert merged_words(Standing(), None, replace=False) is None


def test_further_metadata_is_kept():
    there = card(tags="- medllm_hf\n- pediatrics", more="extra_gated_prompt: Please agree.\n")
    assert more_metadata(Standing(there, PUSHED)) == {"extra_gated_prompt": "Please agree.", "tags": ["pediatrics"]}
    check_standing(Standing(there, PUSHED), replace=False)
    assert more_metadata(Standing()) == more_metadata(Standing(PUSHED, PUSHED)) == more_metadata(Standing("no metadata")) == {}


@pytest.mark.parametrize(
    "there",
    [
        card(body="Another text."),
        card().replace("license: mit", "license: other"),
        card(tags="- other"),
        card() + "\nmore\n",
        card(None) + f"{SECTION_BEGINS}\nno end\n",
        "---\n[\n---\n",
        "",
    ],
)
def test_any_other_edit_is_shown_and_refused(there):
    with pytest.raises(ShownError) as refused:
        check_standing(Standing(there, PUSHED), replace=False)
    assert isinstance(refused.value.error, UserError) and "--replace-card" in str(refused.value)
    assert len(refused.value.lines) > 1
    check_standing(Standing(there, PUSHED), replace=True)


def test_a_card_written_in_other_yaml_is_the_same():
    there = '---\ntags: ["medllm_hf"]\nlicense: "mit"\n---\n\n\n' + PUSHED.split("---\n\n")[1]
    check_standing(Standing(there.replace("\n", "\r\n"), PUSHED), replace=False)


def test_a_card_that_no_push_left_is_refused():
    with pytest.raises(ShownError, match="that no push of this program left there"):
        check_standing(Standing(PUSHED, None), replace=False)


@pytest.fixture
def hub(tmp_path):
    running = start_hub(tmp_path / "hub")
    yield running
    running.close()


@pytest.mark.slow
def test_the_line_of_the_dry_run_works_again_and_edits_on_the_hub_stay(tiny, hub, tmp_path):
    (tmp_path / "own.md").write_text("By Ward 3.\n")
    line = (*PUSH, str(tiny["base"]), "--repo-id", NAME, "--license", "apache-2.0", "--out", str(tmp_path / "out"))
    line += ("--card-section", str(tmp_path / "own.md"))

    def push(*words):
        return run(*line, *words, env={**hub.environment(tmp_path / "home"), "PYTHONPATH": str(ROOT)})

    def standing():
        return hub.store.read("models", NAME, "README.md").decode()

    def edit(old, new):
        text = standing()
        assert old in text
        kept = hub.store.keep("models", NAME, text.replace(old, new, 1).encode())
        hub.store.commit("models", NAME, "Update README.md", {"README.md": kept})

    assert push("--dry-run").returncode == 0
    assert push("--yes").returncode == 0
    assert "nothing to send" in push("--yes").stdout
    edit("By Ward 3.", "By Ward 3, with thanks.")
    edit("- medllm_hf\n", "- medllm_hf\n- pediatrics\n")
    done = push("--yes")
    assert done.returncode == 0 and "nothing to send" in done.stdout, done.stderr
    assert own_words(standing()) == "By Ward 3, with thanks." and "- pediatrics" in standing()
    edit("## Limits", "Thanks to all.\n\n## Limits")
    for words in (("--dry-run",), ("--yes",)):
        done = push(*words)
        assert "--replace-card" in one_line_error(done) and "+ Thanks to all." in done.stdout
    assert push("--yes", "--replace-card").returncode == 0
    assert "Thanks to all." not in standing() and "with thanks" in standing()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "--overwrite" in one_line_error(push("--yes"))
    (tmp_path / "out" / "notes.txt").unlink()
    readme = tmp_path / "out" / "README.md"
    readme.write_text(readme.read_text().replace("## Limits", "Mine.\n\n## Limits"))
    done = push("--yes")
    assert "--overwrite" in one_line_error(done) and "Mine." in done.stdout


@pytest.mark.slow
def test_the_card_of_a_dataset_that_was_edited_on_the_hub_is_shown(hub, tmp_path):
    from support.paths import SAMPLE

    from medllm_hf.data.build import build

    build([str(SAMPLE / "dialogues.jsonl")], str(tmp_path / "data"), license="apache-2.0")
    line = (*PUSH[:-1], "dataset", str(tmp_path / "data"), "--repo-id", "org/data", "--yes")
    environment = {**hub.environment(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    assert run(*line, env=environment).returncode == 0
    text = hub.store.read("datasets", "org/data", "README.md") + b"\nThanks.\n"
    hub.store.commit("datasets", "org/data", "Update README.md", {"README.md": hub.store.keep("datasets", "org/data", text)})
    done = run(*line, env=environment)
    assert "--replace-card" in one_line_error(done) and "+ Thanks." in done.stdout
    assert hub.store.read("datasets", "org/data", "README.md") == text
    assert run(*line, "--replace-card", env=environment).returncode == 0
    assert b"Thanks." not in hub.store.read("datasets", "org/data", "README.md")


@pytest.mark.slow
def test_an_adapter_is_merged_and_published_in_one_command(tiny, hub, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny["base"])
    lora = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    lora.save_pretrained(tmp_path / "lora")
    AutoTokenizer.from_pretrained(tiny["base"]).save_pretrained(tmp_path / "lora")
    (tmp_path / "lora" / "training.json").write_text(
        json.dumps({"run": {"steps": 12}, "settings": {"learning_rate": 3e-4}, "versions": {"trl": "1.16.0"}})
    )
    line = (*PUSH, str(tmp_path / "lora"), "--repo-id", NAME, "--license", "apache-2.0", "--merge", "--base", str(tiny["base"]))
    done = run(*line, "--yes", env={**hub.environment(tmp_path / "home"), "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "merged" in done.stdout and str(tmp_path / ".merged") not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} - {"home", "hub"} == {"lora", "lora-repository"}
    text = (tmp_path / "lora-repository" / "README.md").read_text(encoding="utf-8")
    for said in ("LoRA lora merged onto", "| LoRA rank 秩 | 4 |", "| steps 步数 | 12 |", "| learning rate 学习率 | 0.0003 |"):
        assert said in text, said
    assert read_json(tmp_path / "lora-repository" / "provenance.json")["adapters"][0]["r"] == 4
    assert {"model.safetensors", "config.json", "README.md"} <= set(hub.store.files("models", NAME))
