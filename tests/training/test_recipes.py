"""Every recipe: a header, keys that the pinned TRL knows, values of the right type, paths that exist, known launchers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.launch_lines import check_command, commands
from support.paths import ROOT, SAMPLE
from trl.scripts.sft import make_parser

from medllm_hf.errors import UserError
from medllm_hf.training.sft import read_recipe

FOLDER = ROOT / "recipes"
RECIPES = [path for path in sorted(FOLDER.glob("*/*.yaml")) if path.parent.name != "accelerate"]
DEEPSPEED = sorted((FOLDER / "deepspeed").glob("*.json"))
PATH_KEYS = ("deepspeed", "chat_template_path")
NEEDED = ["--model_name_or_path", "org/model", "--dataset_name", "org/data", "--output_dir", "out"]
# Without it, the Trainer refuses bf16 on a machine that has no GPU.
ON_CPU = ["--use_cpu", "true"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """Paths in recipes are relative to the repository; a parsed DeepSpeed config must not reach other tests."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    yield
    unset_hf_deepspeed_config()


def test_there_are_recipes():
    wanted = {"tiny/sft_full", "tiny/sft_lora", "qwen3-8b/full", "qwen3-8b/lora", "qwen3-0.6b/full", "qwen3-0.6b/lora"}
    wanted |= {f"baichuan2-7b/{name}" for name in ("stage1_full", "stage2_full", "lora", "qlora")}
    assert {str(path.relative_to(FOLDER).with_suffix("")) for path in RECIPES} == wanted
    assert {path.stem for path in DEEPSPEED} == {"zero2", "zero3", "zero3_offload"}


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_recipe_parses_strictly(path):
    recipe = read_recipe(str(path))
    given = NEEDED if path.parent.name == "tiny" else []
    parsed = make_parser().parse_args_and_config(["--config", str(path), *given, *ON_CPU], fail_with_unknown_args=True)
    values = {key: value for part in parsed for key, value in vars(part).items()}
    for key, expected in recipe.items():
        # The Trainer turns "none" into no tracker at all.
        assert values[key] == ([] if (key, expected) == ("report_to", "none") else expected), key
        # Text that should be a number, such as 2e-5, which PyYAML does not read as one, would differ above.
        assert isinstance(values[key], bool) == isinstance(expected, bool), key
    for key in PATH_KEYS:
        assert recipe.get(key) is None or (ROOT / recipe[key]).exists()


def test_a_number_written_as_text_is_noticed(tmp_path):
    (tmp_path / "wrong.yaml").write_text("learning_rate: 2e-5\n")
    (_, parsed, *_) = make_parser().parse_args_and_config(["--config", str(tmp_path / "wrong.yaml"), *NEEDED, *ON_CPU])
    assert read_recipe(str(tmp_path / "wrong.yaml"))["learning_rate"] != parsed.learning_rate


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_recipe_has_a_header_and_a_table_row(path):
    text = path.read_text(encoding="utf-8")
    for line in ("# What:", "# Hardware:", "# Launch:", "# Expected:"):
        assert line in text
    assert named(path) in text, "the launch line names the recipe itself"
    recipe = yaml.safe_load(text)
    gpus = int((re.search(r"^# Hardware: +(\d+) GPUs?", text, re.M) or [0, 1])[1])
    batch = recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] * gpus
    if path.parent.name != "tiny":
        assert "# Batch:" in text and recipe["assistant_only_loss"]
        parts = tuple(
            map(int, re.search(r"^# Batch: +(\d+) = (\d+) a GPU x (\d+) accumulated x (\d+) GPUs?$", text, re.M).groups())
        )
        assert parts == (batch, recipe["per_device_train_batch_size"], recipe["gradient_accumulation_steps"], gpus)
        assert (recipe["eval_strategy"], recipe["save_strategy"]) == ("steps", "steps")
        assert recipe["save_steps"] % recipe["eval_steps"] == 0, "or the best checkpoint cannot be chosen"
    rows = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in rows if line.startswith(f"| [{path.relative_to(FOLDER)}]({path.relative_to(FOLDER)})")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert (cells[2], cells[3]) == (str(batch), str(recipe["num_train_epochs"]))
    assert all(cells[6:])


def test_the_published_settings_of_disc_medllm():
    for name, batch, rate, steps in (("stage1_full", 24, 1e-5, 1800), ("stage2_full", 8, 5e-6, 0)):
        recipe = read_recipe(str(FOLDER / "baichuan2-7b" / f"{name}.yaml"))
        assert 4 * recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] == batch
        assert (recipe["learning_rate"], recipe["warmup_steps"], recipe["weight_decay"]) == (rate, steps, 0)
        assert (recipe["num_train_epochs"], recipe["max_length"]) == (1, 2048)


@pytest.mark.parametrize(
    ("wrong", "near"), [("max_seq_length", "max_length"), ("learning_rte", "learning_rate"), ("load_in_4bits", "load_in_4bit")]
)
def test_a_misspelt_key_is_refused(tmp_path, refused, wrong, near):
    recipe = yaml.safe_load((FOLDER / "tiny" / "sft_full.yaml").read_text(encoding="utf-8"))
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(recipe | {wrong: 1}))
    with pytest.raises(UserError, match=f"key {wrong} in .*expected {near};"):
        read_recipe(str(tmp_path / "old.yaml"))
    assert f"expected {near};" in refused("sft", "--config", str(tmp_path / "old.yaml"))


def filled(path: Path, content: dict | None = None) -> dict:
    """A DeepSpeed config as the Trainer fills it for stage 1 on a model of width 4096."""
    given = ["--deepspeed", json.dumps(content) if content else str(path), "--per_device_train_batch_size", "3"]
    recipe = ["--config", str(FOLDER / "baichuan2-7b" / "stage1_full.yaml"), *ON_CPU]
    (_, settings, *_) = make_parser().parse_args_and_config([*recipe, *given])
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=4096))
    settings.hf_deepspeed_config.trainer_config_finalize(settings, model, 19_336)
    return settings.hf_deepspeed_config.config


@pytest.mark.parametrize("path", DEEPSPEED, ids=named)
def test_deepspeed_accepts_its_config(path):
    from deepspeed.runtime.config import DeepSpeedConfig

    config = filled(path)
    assert '"auto"' in path.read_text() and "auto" not in json.dumps(config)
    accepted = DeepSpeedConfig(config)
    assert accepted.zero_config.stage == int(path.stem[4])
    assert accepted.train_micro_batch_size_per_gpu == 3 and accepted.bfloat16_config.enabled
    assert accepted.gradient_clipping == 1.0
    offloads = [accepted.zero_config.offload_optimizer, accepted.zero_config.offload_param]
    if path.stem == "zero3_offload":
        # The Trainer's own AdamW would run on a GPU; DeepSpeed refuses it beside an offloaded optimizer.
        assert [part.device for part in offloads] == ["cpu", "cpu"] and accepted.optimizer_name == "adamw"
        assert accepted.optimizer_params["lr"] == 1e-5
    else:
        assert offloads == [None, None] and accepted.optimizer_name is None
    if accepted.zero_config.stage == 3:
        assert accepted.zero_config.gather_16bit_weights_on_model_save, "or the saved weights are empty"


def test_deepspeed_refuses_a_misspelt_key():
    from deepspeed.runtime.config import DeepSpeedConfig

    content = json.loads((FOLDER / "deepspeed" / "zero3.json").read_text())
    content["zero_optimization"]["stage3_gather_weights"] = True
    with pytest.raises(ValueError, match="stage3_gather_weights"):
        DeepSpeedConfig(filled(FOLDER / "deepspeed" / "zero3.json", content))


@pytest.mark.parametrize(
    ("name", "kind", "processes", "machines"),
    [("one_gpu", "NO", 1, 1), ("one_node", "MULTI_GPU", 4, 1), ("several_nodes", "MULTI_GPU", 8, 2)],
)
def test_accelerate_reads_its_configs(name, kind, processes, machines):
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = str(FOLDER / "accelerate" / f"{name}.yaml")
    config = load_config_from_file(path)
    assert isinstance(config, ClusterConfig)
    assert (config.distributed_type, config.num_processes, config.num_machines) == (kind, processes, machines)
    given = launch_command_parser().parse_args(["--config_file", path, "--machine_rank", "0", "-m", "medllm_hf"])
    arguments, _, _ = _validate_launch_command(given)
    assert (arguments.num_processes, arguments.multi_gpu) == (processes, kind == "MULTI_GPU")
    assert (arguments.mixed_precision, arguments.use_deepspeed) == ("no", False), "the recipe decides"


def test_accelerate_refuses_a_misspelt_key(tmp_path):
    from accelerate.commands.config.config_args import load_config_from_file

    text = (FOLDER / "accelerate" / "one_gpu.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text + "num_process: 2\n")
    with pytest.raises(ValueError, match="num_process"):
        load_config_from_file(str(tmp_path / "wrong.yaml"))


@pytest.mark.parametrize("command", sorted(set(commands())), ids=lambda command: command[:100])
def test_shown_command_parses(command):
    check_command(command)


@pytest.mark.parametrize(
    "wrong", ["torchrun --nproc 4 --nnode_rank 1 -m medllm_hf sft", "deepspeed --gpus 4 --module medllm_hf sft"]
)
def test_a_wrong_launcher_option_is_noticed(wrong):
    with pytest.raises((SystemExit, AssertionError)):
        check_command(wrong + " --config recipes/tiny/sft_full.yaml")


def test_the_examples_keep_the_batch():
    recipe = read_recipe(str(FOLDER / "baichuan2-7b" / "stage1_full.yaml"))
    shown = [line for line in commands() if "--per_device_train_batch_size 3" in line]
    assert len(shown) == 6
    assert 3 * recipe["gradient_accumulation_steps"] * 2 * 4 == 24


def test_scripts_are_sound_bash(tmp_path):
    (block,) = re.findall(r"```sbatch\n(.*?)```", (FOLDER / "multi_node.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "train.sbatch").write_text(block)
    for script in (tmp_path / "train.sbatch", FOLDER / "run.sh"):
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def run_script(work: Path, *options: str, **variables: str) -> subprocess.CompletedProcess:
    """recipes/run.sh as a user runs it, on the bundled sample with few steps."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {
        "DATA": f"{SAMPLE}/dialogues.jsonl {SAMPLE}/questions_train.jsonl",
        "DATA_OPTIONS": "--license apache-2.0",
        "QUESTIONS": f"{SAMPLE}/questions_test.jsonl",
        "EVAL_OPTIONS": "--score text",
        "TRAIN_OPTIONS": "--max_steps 4 --save_strategy steps --save_steps 2",
        "WORK": str(work),
    }
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "2", **settings, **variables}
    return subprocess.run(
        ["bash", *options, "recipes/run.sh"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env=environment
    )


def test_run_script_refuses_a_folder_of_other_settings(tmp_path):
    (tmp_path / "settings").write_text("SOURCE=other\n")
    done = run_script(tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "other settings" in done.stderr
    assert not (tmp_path / "base").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "train"),
    [("sft_full", "medllm sft"), ("sft_lora", "trl sft --accelerate_config recipes/accelerate/one_gpu.yaml")],
)
def test_run_script_runs_skips_and_resumes(tiny, tmp_path, recipe, train):
    variables = {"SOURCE": str(tiny["source"]), "RECIPE": f"recipes/tiny/{recipe}.yaml", "TRAIN": train}
    done = run_script(tmp_path / "work", **variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    work = tmp_path / "work"
    assert {row["run"] for row in json.loads((work / "report" / "results.json").read_text())["results"]} == {"before", "after"}
    assert (work / "merged" / "model.safetensors").exists() == (recipe == "sft_lora")
    again = run_script(work, **variables)
    assert again.returncode == 0
    assert all(line.endswith(": done before") for line in again.stdout.splitlines())
    # As if the machine had stopped while the last checkpoint was written: training goes on from the one before.
    (work / "done" / "train").unlink()
    (work / "model" / "checkpoint-4" / "trainer_state.json").unlink()
    resumed = run_script(work, "-x", **variables)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"--resume_from_checkpoint {work}/model/checkpoint-2 " in resumed.stderr
    assert (work / "model" / "checkpoint-4" / "trainer_state.json").exists()
