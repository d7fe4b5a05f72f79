"""One rank and several give the same training, however they are launched, and what they save is whole."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.commands import run
from support.ranks import finished, steps, words, write_dialogues, zero

from medllm_hf.training.cpu_ranks import use_cpu_ranks

KINDS = ("one", "zero2", "zero3")
STEPS = 20
# Of tensors that one rank and two compute; the sums are taken in another order.
GRADIENT, LOSS = 1e-6, 1e-4
LOADER = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, report = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
total = count = 0
for line in open(sys.argv[2], encoding="utf-8"):
    turns = json.loads(line)["messages"]
    made = tokenizer.apply_chat_template(turns, return_assistant_tokens_mask=True, return_dict=True, return_tensors="pt")
    learned = made["assistant_masks"][0, 1:].bool()
    with torch.no_grad():
        chances = model(made["input_ids"]).logits[0, :-1].double().log_softmax(-1)
    total -= chances.gather(1, made["input_ids"][0, 1:, None])[learned].sum().item()
    count += int(learned.sum())
faults = [name for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[kind]]
print(json.dumps({"faults": faults, "loss": total / count, "dtype": str(model.dtype)}))
"""


def largest_difference(one: Path, two: Path) -> float:
    """Over all weights of two folders."""
    left, right = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)


def one_step(tiny, folder: Path, dialogues: int, kind: str, batch: int, accumulated: int) -> Path:
    """The folder of weights after one plain gradient step on the first `dialogues`; the weights' change is the gradient."""
    out = folder / f"{kind}-{dialogues}-{batch}x{accumulated}"
    if out.exists():
        return out
    data = folder / f"data{dialogues}"
    if not data.exists():
        write_dialogues(data, dialogues)
    deepspeed = {} if kind in ("one", "ddp") else {"deepspeed": zero(int(kind[-1]), folder)}
    options = {"optim": "sgd", "learning_rate": 1, "lr_scheduler_type": "constant", "max_grad_norm": 0, "max_steps": 1}
    arguments = words(
        tiny["base"], data, out, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
        **options, **deepspeed,
    )  # fmt: skip
    finished(folder / "logs", *arguments, ranks=1 if kind == "one" else 2)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


# Three dialogues leave the second rank half a batch, and a single one leaves it none.
QUICK = [(4, "zero2", 2, 1), (3, "zero3", 1, 2), (1, "zero2", 2, 1)]
ALL = [
    *[(dialogues, "one", 1, 4) for dialogues in (4, 3, 2, 1)],
    *[(n, kind, batch, 2 // batch) for n in (4, 3, 2, 1) for kind in ("ddp", "zero2", "zero3") for batch in (2, 1)],
]


@pytest.mark.parametrize(
    ("dialogues", "kind", "batch", "accumulated"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in QUICK)],
)
def test_the_gradient_is_that_of_one_rank_and_one_batch(tiny, folder, dialogues, kind, batch, accumulated):
    """D3, on several ranks."""
    expected = one_step(tiny, folder, dialogues, "one", 4, 1)
    assert largest_difference(expected, tiny["base"]) > 0.01
    assert largest_difference(expected, one_step(tiny, folder, dialogues, kind, batch, accumulated)) <= GRADIENT


def test_a_rank_without_a_sample_is_no_loss_of_zero(tiny, folder):
    data = write_dialogues(folder / "lonely", 1)
    run = finished(folder / "lonely-logs", *words(tiny["base"], data, folder / "lonely-out", max_steps=4), ranks=2)
    assert "a loss of zero" not in run.text()


@pytest.fixture(scope="module")
def data(folder) -> Path:
    """30 dialogues, which is no multiple of the batch of 4, and 5 to evaluate on."""
    return write_dialogues(folder / "data", 30, 5)


@pytest.fixture(scope="module")
def trained(tiny, folder, data) -> dict[str, Path]:
    """Kind → folder of a run of 20 steps with one evaluation and one checkpoint at its end; saving hangs on no rank."""
    outs = {kind: folder / kind for kind in KINDS}
    for kind, out in outs.items():
        finished(folder / f"{kind}-logs", *words(tiny["base"], data, out, **options(kind, folder)), ranks=1 + (kind != "one"))
    return outs


def options(kind: str, folder: Path) -> dict[str, object]:
    ranks = {"per_device_train_batch_size": 2, "deepspeed": zero(int(kind[-1]), folder)} if kind != "one" else {}
    at_end = {"eval_strategy": "steps", "eval_steps": STEPS, "save_strategy": "steps", "save_steps": STEPS}
    return {**ranks, **at_end, "max_steps": STEPS, "warmup_steps": 4, "per_device_eval_batch_size": 2}


def last_evaluation(out: Path) -> float:
    state = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry][-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_two_ranks_have_the_loss_curve_of_one(trained, kind):
    one, two = (steps(trained[name] / f"checkpoint-{STEPS}", "learning_rate", "epoch", "loss") for name in ("one", kind))
    assert len(one) == STEPS
    assert one[0][-1] - one[-1][-1] > 0.5
    assert [entry[:-1] for entry in two] == [entry[:-1] for entry in one]
    assert [entry[-1] for entry in two] == pytest.approx([entry[-1] for entry in one], abs=LOSS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_evaluating_on_two_ranks_counts_every_token_once(trained, kind):
    assert last_evaluation(trained[kind]) == pytest.approx(last_evaluation(trained["one"]), abs=1e-5)


@pytest.mark.slow
def test_zero3_gives_each_rank_half_of_the_optimizer(trained):
    state = trained["zero3"] / f"checkpoint-{STEPS}" / f"global_step{STEPS}"
    sizes = []
    for number in range(2):
        file = state / f"zero_pp_rank_{number}_mp_rank_00_optim_states.pt"
        groups = torch.load(file, weights_only=False)["optimizer_state_dict"]["fp32_flat_groups"]
        sizes.append(sum(group.numel() for group in groups))
    whole = sum(weight.numel() for weight in load_file(trained["one"] / "model.safetensors").values())
    assert sizes[0] == sizes[1]
    assert whole <= sum(sizes) < 1.01 * whole


@pytest.mark.slow
def test_zero3_saves_every_tensor_whole(trained, tiny):
    """D23 and D24: the runs above ended, and on every rank."""
    saved, base = (load_file(path / "model.safetensors") for path in (trained["zero3"], tiny["base"]))
    assert {name: weight.shape for name, weight in saved.items()} == {name: weight.shape for name, weight in base.items()}
    assert all(not torch.equal(saved[name], base[name]) for name in base)


@pytest.mark.slow
def test_the_model_saved_by_zero3_has_the_last_evaluation_loss_in_a_clean_process(trained, data):
    done = run(sys.executable, "-c", LOADER, str(trained["zero3"]), str(data / "test.jsonl"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["faults"], report["dtype"]) == ([], "torch.float32")
    assert report["loss"] == pytest.approx(last_evaluation(trained["zero3"]), abs=1e-5)


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
LAUNCHERS = {
    "torchrun": [["torchrun", "--nproc_per_node", "2", "-m"]],
    "two machines": [
        ["torchrun", "--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(node), "--master_addr", "127.0.0.1",
         "--master_port", str(PORT), "-m"]
        for node in range(2)
    ],
    "accelerate": [["accelerate", "launch", "--use_deepspeed", "--num_processes", "2", "--num_machines", "1", "-m"]],
    "deepspeed": [["deepspeed", "--num_gpus", "2", "--no_local_rank", "--module"]],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_gives_the_same_losses(tiny, folder, data, trained, name):
    """Two torchrun processes on loopback stand for two machines."""
    out = folder / name.replace(" ", "-")
    arguments = ["medllm_hf", "sft", *words(tiny["base"], data, out, **options("zero3", folder))]
    commands = [[program(launcher[0]), *launcher[1:], *arguments] for launcher in LAUNCHERS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    logs = [folder / f"{out.name}-{node}.log" for node in range(len(commands))]
    machines = []
    for command, log in zip(commands, logs, strict=True):
        with log.open("w") as screen:
            machines.append(subprocess.Popen(command, stdout=screen, stderr=subprocess.STDOUT, env=environment))
    try:
        codes = [machine.wait(timeout=240) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    text = "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)
    assert codes == [0] * len(machines), text[-4000:]
    expected = steps(trained["zero3"] / f"checkpoint-{STEPS}", "num_tokens", "loss")
    assert steps(out / f"checkpoint-{STEPS}", "num_tokens", "loss") == expected
    assert largest_difference(out, trained["zero3"]) == 0


def test_nothing_is_touched_without_a_launcher_or_with_an_accelerator(monkeypatch):
    from accelerate.state import PartialState

    before = PartialState._prepare_backend
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    use_cpu_ranks()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    use_cpu_ranks()
    assert PartialState._prepare_backend is before
    assert not torch.distributed.is_initialized()
