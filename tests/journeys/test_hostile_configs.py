"""Configs that name code of their own, before every verb that takes a model, on a terminal where a `y` lies ready."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.consulting import case, write_cases
from support.hostile import CODE, CODE_FILES, KINDS, OTHER, TOKENIZER, change, write_hostile
from support.hub_on_disk import start_hub
from support.paths import SAMPLE
from support.pseudo_terminal import Screen
from support.published_model import publish
from support.short_run import write_dataset, write_questions

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.pretrained import load_config, load_generation_config, load_model, load_tokenizer, refuse_trust

# Runs one command after another in one process, since importing the libraries takes longest of all. Before each it waits for
# the `y`; afterwards it tells the exit code and how many bytes are left of what was typed: two if nobody asked.
DRIVER = """
import fcntl, json, select, struct, sys, termios, traceback
settings = termios.tcgetattr(0)
settings[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, settings)
import push_to_hub
from medllm_hf.cli import main
def stock(words):
    from transformers import AutoTokenizer
    AutoTokenizer.from_pretrained(words[0])
programs = {"push_to_hub": push_to_hub.main, "stock": stock, "medllm": main}
for number, (program, *words) in enumerate(json.loads(sys.argv[1])):
    print(f"<{number}>", flush=True)
    select.select([0], [], [])
    try:
        code = programs[program](words)
    except SystemExit as stop:
        code = stop.code
    except Exception:
        traceback.print_exc()
        code = 1
    left = struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))[0]
    termios.tcflush(0, termios.TCIFLUSH)
    print(f"</{number} {code} {left}>", flush=True)
"""
REFUSED = ("tokenizer", "tokenizer_beside_a_known_model", "tokenizer_of_old", "config", "config_elsewhere", "both", "malformed")
# Those need the model as well, or start `transformers serve`.
LOADING = ("chat", "web", "mcq", "sft", "consult", "judge", "pair")
SERVING = ("consult", "judge", "pair")


@dataclass(frozen=True)
class Outcome:
    """What became of one command: `lines` on the screen, its exit code, bytes typed and not read, requests to the Hub."""

    lines: list[str]
    code: str
    left: int
    asked: list[str]

    def refusal(self) -> str:
        """The one line of a refusal that asked nothing; `eval mcq` and a push may have said before what they read."""
        refused = [
            line for line in self.lines if not re.match(r"questions.jsonl: 8 questions|checking .* bytes of weights", line)
        ]
        assert (self.code, len(refused), self.left) == ("2", 1, 2), self
        return refused[0]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with the code that hostile configs point to."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "other").mkdir()
    (folder / "other" / "file.py").write_text(CODE, encoding="utf-8")
    change(folder / "other", "config.json", model_type="foreign")
    hub = start_hub(folder / "store")
    put(hub, OTHER, folder / "other")
    yield hub
    hub.close()


def put(hub, name: str, folder: Path) -> None:
    if hub.store.settings("models", name) is None:
        hub.store.create("models", name)
    hub.store.put("models", name, folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Questions, a dataset, cases and dialogues for the verbs."""
    folder = tmp_path_factory.mktemp("inputs")
    write_dataset(folder / "dataset", write_questions(folder / "questions.jsonl"))
    write_cases(folder / "cases.jsonl", [case(1)])
    turns = [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": "请休息。"}]
    for name in ("first", "second"):
        write_cases(folder / f"{name}.jsonl", [{"id": f"{name}/1", "case_id": "1", "model": name, "turns": turns}])
    return folder


def words_of(verb: str, model: str, work: Path, out: Path) -> list[str]:
    """The command by which a verb is given the model; what else it needs is in `work`, and `out` does not exist."""
    nowhere = "http://127.0.0.1:9/v1#nobody"
    data = ["--dataset_name", str(work / "dataset"), "--output_dir", str(out), "--use_cpu", "--bf16", "false"]
    return {
        "chat": ["medllm", "chat", model, "--max-new-tokens", "2"],
        "web": ["medllm", "web", model, "--port", "0"],
        "mcq": ["medllm", "eval", "mcq", "--model", model, "--data", str(work / "questions.jsonl"), "--out", str(out)],
        "consult": [
            *("medllm", "eval", "consult", "--cases", str(work / "cases.jsonl"), "--out", str(out)),
            *("--doctor", model, "--patient", nowhere),
        ],
        "judge": [
            *("medllm", "eval", "judge", "--dialogues", str(work / "first.jsonl")),
            *("--judge", model, "--out", str(out)),
        ],
        "pair": [
            *("medllm", "eval", "pair", "--first", str(work / "first.jsonl"), "--second", str(work / "second.jsonl")),
            *("--judge", model, "--out", str(out)),
        ],
        "sft": ["medllm", "sft", "--model_name_or_path", model, *data, "--report_to", "none", "--max_steps", "1"],
        "plan": ["medllm", "sft", "--model_name_or_path", model, *data, "--plan", "--gpus", "1", "--gpu_memory", "80"],
        "convert": ["medllm", "convert", model, str(out)],
        "merge": ["medllm", "merge", str(work / "lora"), str(out), "--base", model],
        "verify": ["medllm", "verify", model, "--data", str(work / "two.jsonl")],
        "push_to_hub": [
            *("push_to_hub", "model", model, "--repo-id", "org/new", "--license", "apache-2.0"),
            *("--out", str(out), "--dry-run"),
        ],
    }[verb]  # fmt: skip


def outcomes(commands: list[list[str]], hub, home: Path, typed: str = "y\n") -> list[Outcome]:
    """What becomes of commands that run one after another on one terminal; no code may leave its mark."""
    mark, found = home / "mark", []
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "MARK": str(mark)}
    settings = {**hub.environment(home / "home"), **quiet}
    with Screen(json.dumps(commands), state=home, program=("-c", DRIVER), columns=4000, **settings) as screen:
        for number, command in enumerate(commands):
            screen.until(f"<{number}>")
            before = len(hub.requests)
            screen.type(typed)
            shown = screen.until(f"</{number} ")
            code, left = screen.until(">").removesuffix(">").split()
            lines = [line.strip() for line in shown.removesuffix(f"</{number} ").splitlines() if line.strip()]
            found.append(Outcome(lines, code, int(left), [path for _, path in hub.requests[before:]]))
            if command[0] != "stock":
                assert not mark.exists(), (command, lines)
                assert not [path for path in (home / "home").rglob("*.py") if path.name in CODE_FILES], command
                assert not [path for path in found[-1].asked if OTHER in path or path.endswith(".py")], command
    return found


def adapter_of(base: Path, folder: Path) -> None:
    """A LoRA adapter of a checkpoint."""
    from peft import LoraConfig, get_peft_model

    get_peft_model(load_model(base), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(folder)


@pytest.fixture(scope="module")
def hostile(tiny, hub, work, tmp_path_factory):
    """A function kind → hostile checkpoint, as a folder and as a repository with evidence for `verify`, both made once."""
    folder, made = tmp_path_factory.mktemp("hostile"), {}
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (work / "two.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mcq(str(tiny["base"]), str(work / "two.jsonl"), str(folder / "exam"), score="text")
    published = publish(tiny["base"], folder / "published", [folder / "exam"])
    adapter_of(tiny["base"], work / "lora")

    def make(kind: str) -> tuple[Path, str]:
        if kind not in made:
            name = f"org/{kind.replace('_', '-')}"
            put(hub, name, write_hostile(published, folder / kind, kind))
            made[kind] = (folder / kind, name)
        return made[kind]

    return make


def test_without_our_loading_the_same_configs_ask_and_run(hostile, hub, tmp_path):
    """The stock loader, which shows that the `y` would be read and that the code would leave its mark."""
    (asked,) = outcomes([["stock", hostile("tokenizer")[1]]], hub, tmp_path)
    assert asked.left == 0 and "Do you wish to run the custom code? [y/N]" in " ".join(asked.lines)
    assert f"/{OTHER}/resolve/main/file.py" in " ".join(asked.asked) or any("file.py" in path for path in asked.asked)
    assert (tmp_path / "mark").exists()


def told(verb: str, model: str, outcome: Outcome) -> None:
    """Checks the one line of a refusal; a verification, which examines the other files too, names it among its findings."""
    if verb == "verify":
        named = ("names code of its own", "code that comes with one is never run", "unheard-of")
        assert outcome.code == "1" and any(part in line for part in named for line in outcome.lines), (model, outcome)
        assert not any("\x1b" in line for line in outcome.lines)
        return
    line = outcome.refusal()
    assert line.startswith(("medllm: found ", "push_to_hub.py: found ")) and "\x1b" not in line, line
    if verb not in ("convert", "plan"):  # which know the layouts that they read, and say so
        unknown = "model_type 'unheard-of'" in line  # of a model whose tokenizer alone has code
        assert unknown or "code that comes with one is never run" in line, (verb, model, line)


def test_every_verb_refuses_a_class_of_foreign_code(hostile, hub, work, tmp_path):
    """One way of being hostile a verb, in turn as a folder and from the Hub; the slow test has all of them."""
    verbs = ("chat", "web", "mcq", "consult", "judge", "pair", "convert", "merge", "verify", "push_to_hub")
    chosen = []
    for i, verb in enumerate(verbs):
        folder, name = hostile(REFUSED[i % len(REFUSED)])
        chosen.append((verb, str(folder) if i % 2 or verb == "push_to_hub" else name))
    commands = [words_of(verb, model, work, tmp_path / f"out-{verb}") for verb, model in chosen]
    for (verb, model), outcome in zip(chosen, outcomes(commands, hub, tmp_path), strict=True):
        told(verb, model, outcome)
        assert not (tmp_path / f"out-{verb}").exists()
        assert outcome.asked == [] or not Path(model).is_dir(), "nothing is fetched for a folder"


def test_training_refuses_foreign_code_and_trust_in_it(hostile, hub, work, tiny, tmp_path):
    recipe = tmp_path / "trust.yaml"
    recipe.write_text("trust_remote_code: true\n")
    within = tmp_path / "within.yaml"
    within.write_text("model_init_kwargs: {trust_remote_code: true}\n")
    good = words_of("sft", str(tiny["base"]), work, tmp_path / "out")
    trusting = [
        [*good, "--trust_remote_code", "true"],
        [*good, "--trust_remote_code"],
        [*good, "--config", str(recipe)],
        [*good, "--config", str(within)],
        [*words_of("plan", str(tiny["base"]), work, tmp_path / "out"), "--trust_remote_code", "true"],
    ]
    template = [*good, "--chat_template_path", hostile("tokenizer")[1]]
    commands = [words_of("sft", hostile("both")[1], work, tmp_path / "out"), *trusting, template]
    commands += [words_of(verb, str(hostile("config")[0]), work, tmp_path / "out") for verb in ("sft", "plan")]
    first, *found = outcomes(commands, hub, tmp_path)
    told("sft", "org/both", first)
    for outcome in found[: len(trusting)]:
        assert "found trust_remote_code: true; expected false" in outcome.refusal()
    told("sft", "template", found[len(trusting)])
    told("sft", "config", found[-2])
    told("plan", "config", found[-1])
    assert not (tmp_path / "out").exists()


def test_a_dataset_s_script_is_not_run(hub, work, tiny, tmp_path):
    """Nor is a pickle beside it read."""
    data = tmp_path / "scripted"
    data.mkdir()
    (data / "scripted.py").write_text(CODE)
    (data / "train.pkl").write_bytes(b"cos\nsystem\n(S'echo x > $MARK'\ntR.")
    commands = []
    for verb in ("sft", "plan"):
        words = words_of(verb, str(tiny["base"]), work, tmp_path / "out")
        commands.append([str(data) if word == str(work / "dataset") else word for word in words])
    commands.append(["medllm", "data", "check", str(data)])
    *found, _ = outcomes(commands, hub, tmp_path)
    assert all("Dataset scripts are no longer supported" in outcome.refusal() for outcome in found)


def test_what_is_harmless_beside_a_known_class_works(hostile, hub, work, tmp_path):
    """And what a verb does not need is no reason to refuse: only `transformers serve` loads a processor."""
    folder, name = hostile("harmless")
    models = {"chat": name, "mcq": str(folder), "verify": name, "merge": str(folder), "plan": str(folder)}
    models["push_to_hub"] = str(folder)
    commands = [words_of(verb, model, work, tmp_path / f"out-{verb}") for verb, model in models.items()]
    commands.append(words_of("mcq", str(hostile("processor")[0]), work, tmp_path / "out-processor"))
    for command, outcome in zip(commands, outcomes(commands, hub, tmp_path, "y\nexit\n"), strict=True):
        # Code that is named or lies there is no reason to refuse work, and one to publish nothing and to tell who verifies.
        code = "2" if command[0] == "push_to_hub" else "1" if command[1] == "verify" else "0"
        assert outcome.code == code, (command, outcome)
        if outcome.code != "0":
            assert any("names code of its own" in line and "auto_map" in line for line in outcome.lines), (command, outcome)
        assert "run the custom code" not in " ".join(outcome.lines)


def test_processors_attention_adapters_and_templates(hostile, hub, work, tmp_path):
    cases = [
        ("judge", str(hostile("processor")[0]), "a processor (AutoProcessor) of class 'X'"),
        ("chat", hostile("attention")[1], f"_attn_implementation '{OTHER}'"),
        ("mcq", hostile("with_adapter")[1], "an adapter in "),
        ("chat", str(hostile("adapter")[0]), "an adapter in "),
        ("mcq", str(hostile("attention")[0]), f"_attn_implementation '{OTHER}'"),
        *(
            (verb, str(hostile("template")[0]), "that fails (SecurityError: ")
            for verb in ("chat", "mcq", "judge", "push_to_hub")
        ),
        ("web", hostile("template")[1], "that fails (SecurityError: "),
        ("sft", hostile("template")[1], "that fails (SecurityError: "),
    ]
    commands = [words_of(verb, model, work, tmp_path / f"out-{i}") for i, (verb, model, _) in enumerate(cases)]
    for (_, _, expected), outcome in zip(cases, outcomes(commands, hub, tmp_path), strict=True):
        assert expected in outcome.refusal()


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_every_verb_on_every_hostile_config(kind, hostile, hub, work, tmp_path):
    verbs = ("chat", "web", "mcq", "consult", "judge", "pair", "convert", "merge", "verify", "sft", "plan", "push_to_hub")
    folder, name = hostile(kind)
    chosen = [(verb, model) for verb in verbs for model in (str(folder), name) if (verb, model) != ("push_to_hub", name)]
    # A plan is made of the shapes and, where there is one, the tokenizer; without it the tokens are said to be unknown.
    planned = kind in ("tokenizer_beside_a_known_model",)
    commands = [words_of(verb, model, work, tmp_path / f"out-{i}") for i, (verb, model) in enumerate(chosen)]
    for (verb, model), outcome in zip(chosen, outcomes(commands, hub, tmp_path), strict=True):
        if verb == "plan" and planned:
            assert (outcome.code, outcome.left) == ("0", 2), outcome
        else:
            told(verb, model, outcome)


@pytest.mark.slow
def test_a_harmless_checkpoint_is_served_and_trained(hostile, hub, work, tmp_path):
    folder, name = hostile("harmless")
    commands = [words_of("sft", name, work, tmp_path / "sft"), words_of("judge", str(folder), work, tmp_path / "judge")]
    for command, outcome in zip(commands, outcomes(commands, hub, tmp_path), strict=True):
        assert outcome.code == ("1" if "judge" in command else "0"), (command, outcome)
    saved = [path.read_text() for path in (tmp_path / "sft").glob("*.json")]
    assert len(saved) >= 3 and not any("auto_map" in text for text in saved)


@pytest.mark.parametrize("kind", REFUSED)
def test_each_hostile_config_is_refused_by_name(kind, tiny, tmp_path, monkeypatch):
    """Without a terminal, by the functions that all verbs load with."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    folder = write_hostile(tiny["base"], tmp_path / "model", kind)
    with pytest.raises(UserError, match="code that comes with one is never run") as refusal:
        load_tokenizer(folder)
        load_config(folder)
    assert "\n" not in str(refusal.value) and "\x1b" not in str(refusal.value)
    assert not (tmp_path / "mark").exists()


def test_what_the_loading_functions_say(tiny, tmp_path, monkeypatch):
    assert load_generation_config(tiny["base"]).eos_token_id == 2
    (tmp_path / "empty").mkdir()
    assert load_generation_config(tmp_path / "empty") is None
    monkeypatch.chdir(tiny["base"])
    assert load_generation_config("") is None, "of nowhere, which is not the current folder"
    for load, found in ((load_config, "config.json"), (load_model, "config.json"), (load_tokenizer, "empty")):
        with pytest.raises(UserError, match=found):
            load(tmp_path / "empty")
    broken = write_hostile(tiny["base"], tmp_path / "broken", "harmless")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(broken)
    (broken / "generation_config.json").write_text("[")
    with pytest.raises(UserError, match="generation_config.json that is not JSON"):
        load_generation_config(broken)
    change(broken, "config.json", hidden_size=32)
    with pytest.raises(UserError, match="expected a checkpoint that transformers loads|that is not JSON"):
        load_model(broken)
    change(broken, "config.json", model_type="unheard-of", auto_map=None)
    with pytest.raises(UserError, match="model_type 'unheard-of' in .* expected one that this version"):
        load_config(broken)


def test_trust_is_refused_wherever_it_is_said():
    refuse_trust({}, {"trust_remote_code": False}, {"model_init_kwargs": None}, {"model_init_kwargs": "{}"})
    for one in ({"trust_remote_code": True}, {"model_init_kwargs": {"trust_remote_code": "yes"}}):
        with pytest.raises(UserError, match="expected false"):
            refuse_trust({}, one)


def test_every_kind_is_tested():
    assert set(KINDS) == {*REFUSED, "harmless", "template", "processor", "attention", "with_adapter", "adapter"}
    assert re.fullmatch(r"org/\w+--\w+\.X", TOKENIZER["auto_map"]["AutoTokenizer"][0])
