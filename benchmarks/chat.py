"""Time to the first token of an answer late in a conversation, with what was read before kept, and read anew each turn.

    python benchmarks/chat.py [--repeats N]

A random Llama of 29 million parameters on the CPU. Ten turns of about 220 tokens: the last question follows some 2,000
tokens. Thirty turns of about 40 tokens, with what was read kept: the times of the last five against those of turns 2 to 6.
Questions and answers are made of sentences; the answers' tokens are forced on the model, which computes as ever, so that all
runs have the same conversation. Each way is a process of its own; memory is its peak resident set after the ten turns. The
time to the first token counts from the call, rendering and tokenising included. The last lines say, one a target:
NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAYERS, WIDTH, INNER, CONTEXT = 8, 512, 1376, 4096
SENTENCES = [
    *("头痛三天了，还有点恶心。", "血压高要注意什么？", "需要做血常规检查。", "多喝水，注意休息。", "有没有发热咳嗽？"),
    *("饭后半小时吃药。", "症状加重请到医院就诊。", "以前得过胃溃疡。", "孩子一直拉肚子。", "这个药能长期吃吗？"),
]


def build(folder: Path) -> None:
    """Writes the random model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from medllm_hf.checkpoint.convert import convert
    from medllm_hf.checkpoint.tiny import tiny_base

    # Only its tokenizer and its templates stay.
    tiny_base(str(folder / "source"), layers=1, hidden=64)
    convert(str(folder / "source"), str(folder / "model"))
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=8, vocab_size=4000,
        max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    print(f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} million parameters")
    model.save_pretrained(folder / "model")


def text(rng: random.Random, tokenizer, length: int) -> str:
    """Sentences of about `length` tokens."""
    said = ""
    while len(tokenizer.encode(said, add_special_tokens=False)) < length:
        said += rng.choice(SENTENCES)
    return said


def converse(session, keep: bool, turns: int, length: int) -> list[float]:
    """The seconds to the first token in each turn of a conversation, questions and answers of `length` tokens each."""
    rng, seconds = random.Random(0), []
    script: list[int] = []
    place = 0

    def count(module, given, named):
        nonlocal place
        # A part of the prompt is several tokens, a token of the answer is one.
        place = place + 1 if named["input_ids"].shape[1] == 1 else 0

    def push(module, given, output):
        output[:, -1, script[min(place, len(script) - 1)]] += 1e4
        return output

    hooks = [session.model.register_forward_pre_hook(count, with_kwargs=True)]
    hooks.append(session.model.lm_head.register_forward_hook(push))
    session.reset()
    for _ in range(turns):
        question = text(rng, session.tokenizer, length)
        script[:] = [*session.tokenizer.encode(text(rng, session.tokenizer, length), add_special_tokens=False), 2]
        if not keep:
            session.backend.prompt_cache.forget()
        started = time.perf_counter()
        answer = session.stream(question, do_sample=False)
        next(answer)
        seconds.append(time.perf_counter() - started)
        for _ in answer:
            pass
    for hook in hooks:
        hook.remove()
    return seconds


def work(folder: str, keep: bool, repeats: int) -> None:
    """Prints, as JSON, the history's tokens and seconds of the tenth turn, the peak memory, and the seconds of 30 turns."""
    from medllm_hf.chat import ChatSession

    session = ChatSession.from_pretrained(folder, device="cpu", max_new_tokens=400)
    converse(session, keep, 2, 20)
    tenth = [converse(session, keep, 10, 110)[-1] for _ in range(repeats)]
    history = len(session.tokenizer.apply_chat_template(session.messages[:-2], return_dict=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Each turn's fastest of all repeats: other work of the machine only adds.
    runs = [converse(session, keep, 30, 15) for _ in range(repeats if keep else 0)]
    turns = [min(times) for times in zip(*runs, strict=True)]
    print(json.dumps({"history": history, "tenth": statistics.median(tenth), "peak": peak, "turns": turns}))


def measured(folder: Path, way: str, repeats: int) -> dict:
    """What `work` says in a process of its own."""
    command = [sys.executable, __file__, "--repeats", str(repeats), "--work", str(folder / "model"), way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{way}: turn 10 after {result['history']} tokens {1000 * result['tenth']:.1f} ms, peak {result['peak'] / 1e6:.0f} MB"
    )
    if result["turns"]:
        print("  ms in 30 turns:", " ".join(f"{1000 * seconds:.0f}" for seconds in result["turns"]), flush=True)
    return result


def main() -> int:
    """Measures both ways and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="conversations of each kind")
    parser.add_argument("--work", nargs=2, metavar=("DIR", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], options.work[1] == "kept", options.repeats)
        return 0
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        kept, anew = (measured(Path(name), way, options.repeats) for way in ("kept", "anew"))
    print(f"{os.cpu_count()} cores")
    growth = statistics.mean(kept["turns"][-5:]) / statistics.mean(kept["turns"][1:6])
    speed, memory = anew["tenth"] / kept["tenth"], kept["peak"] / anew["peak"]
    targets = [
        ("times_faster_in_turn_10", speed, "5.00", speed >= 5),
        ("memory", memory, "1.10", memory <= 1.1),
        ("growth_over_30_turns", growth, "0.75..1.25", 0.75 <= growth <= 1.25),
    ]
    for name, value, target, met in targets:
        print(f"{name} value={value:.2f} target={target} {'met' if met else 'missed'}")
    return int(not all(met for *_, met in targets))


if __name__ == "__main__":
    sys.exit(main())
