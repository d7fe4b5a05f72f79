"""`medllm eval consult` with 300 dialogues of 6 calls against a scripted server that takes a second for each answer.

    python benchmarks/consultation.py [--dialogues N] [--concurrency N]

The server is a process of its own; patient and doctor are one endpoint, so that they share its slots. A dialogue is a chain
of calls, each of which needs the one before, and a slot carries one call at a time. No schedule is shorter than the longer
of the two bounds: the calls of one dialogue, and all calls over the slots, rounded up: max(6, ceil(300 * 6 / 64)) = 29 s;
and before them the four canaries of the patient are held at once and the
endpoint is tried, which takes two seconds more.
Wall time is that of the whole command, its start and its files included. A second run meets faults, drawn anew for each
request: 5% status 429, 3% status 500, 1% cut connections, 1% without an answer until the client's time-out of 5 s. Every
call must be answered once and no more, every dialogue be whole, and every request be a call or the repetition after a fault.
The last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is missed.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

DIALOGUES, CONCURRENCY, ROUNDS = 300, 64, 3
LATENCY, TIMEOUT = 1.0, 5.0
FAULTS = {"429": 0.05, "500": 0.03, "cut": 0.01, "time-out": 0.01}
MOST_OVER_IDEAL = 1.15
# What the endpoint is asked before the first case, to see whether it answers; the outputs do not hold it.
PREFLIGHTS = 1
SIGNS = "天地山水风云花草树石"


async def exchange(reader, writer, meets, seen: Counter, answered: Counter) -> bool:
    """Answers one request as `meets()` says; whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    fault = meets()
    seen[fault] += 1
    if fault == "time-out":
        await reader.read(1)  # ends when the client gives up
        return False
    await asyncio.sleep(LATENCY)
    # A text of its own for each request, so that no two calls of a run are alike; the patient's words keep to its role.
    call = zlib.crc32(body)
    own = "".join(SIGNS[int(digit)] for digit in f"{call:010d}")
    instructed = json.loads(body)["messages"][0]["role"] == "system"  # as the patient alone is
    words = f"这我说不清楚，医生。{own}" if instructed else f"请再说说：{own}。"
    message = {"role": "assistant", "content": words}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    answer = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()
    status = {"429": b"429 Too Many Requests\r\nRetry-After: 1", "500": b"500 Internal Server Error"}.get(fault, b"200 OK")
    writer.write(b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(answer)))
    writer.write(answer[: len(answer) // 2] if fault == "cut" else answer)
    await writer.drain()
    answered[call] += fault == "none"
    return fault != "cut"


def serve(pipe, faults: dict[str, float]) -> None:
    """Sends its port through `pipe`; after a word from there, what requests met, and the times each call was answered."""
    rng = random.Random(0)
    kinds, shares = ["none", *faults], [1 - sum(faults.values()), *faults.values()]
    seen, answered = Counter(), Counter()

    async def connection(reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await exchange(reader, writer, lambda: rng.choices(kinds, shares)[0], seen, answered):
                pass
        writer.close()

    async def work():
        server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1000)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        pipe.send((seen, Counter(answered.values())))

    asyncio.run(work())


def consultations(folder: Path, dialogues: int, concurrency: int, faults: dict[str, float]) -> dict:
    """One run of the command: its seconds, the server's counts and the run's outputs, dialogues and usage."""
    cases = folder / "cases.jsonl"
    rows = ({"id": f"{i:03d}", "case": f"第{i}位患者，咳嗽{i % 9 + 1}天，无发热，未服药。"} for i in range(dialogues))
    cases.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    server = spawn.Process(target=serve, args=(there, faults), daemon=True)
    server.start()
    spec = f"http://127.0.0.1:{here.recv()}/v1#scripted"
    out = folder / ("faults" if faults else "plain")
    command = [sys.executable, "-m", "medllm_hf", "eval", "consult", "--cases", str(cases), "--doctor", spec, "--patient", spec]
    command += ["--out", str(out), "--turns", str(ROUNDS), "--concurrency", str(concurrency), "--timeout", str(TIMEOUT)]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    here.send("stop")
    seen, times = here.recv()
    server.join()
    if done.returncode:
        sys.exit(f"eval consult ended with {done.returncode}")
    files = {
        name: [json.loads(line) for line in (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("outputs", "dialogues")
    }
    return {"seconds": seconds, "seen": seen, "times": times, **files}


def unexplained(run: dict, dialogues: int) -> int:
    """How many dialogues, outputs, answers and requests there are too many or too few."""
    canaries = sum(row["case"].startswith("patient-canary/") for row in run["outputs"])
    calls = dialogues * 2 * ROUNDS + canaries
    whole = sum(len(talk["turns"]) == 2 * ROUNDS for talk in run["dialogues"])
    repeated = sum(row["retries"] for row in run["outputs"])
    faults = run["seen"].total() - run["seen"]["none"]
    return (
        abs(len({talk["case_id"] for talk in run["dialogues"]}) - dialogues)
        + abs(whole - dialogues)
        + abs(len({(row["case"], row["turn"]) for row in run["outputs"]}) - calls)
        + abs(len(run["outputs"]) - calls)
        + abs(run["times"][1] - calls - PREFLIGHTS)
        + sum(count for times, count in run["times"].items() if times > 1)
        + abs(run["seen"].total() - calls - PREFLIGHTS - repeated)
        + abs(repeated - faults)
    )


def told(name: str, run: dict) -> str:
    """One line on a run: its requests and what they met."""
    repeated = sum(row["retries"] for row in run["outputs"])
    met = ", ".join(f"{kind} {count}" for kind, count in sorted(run["seen"].items()))
    total, calls = run["seen"].total(), len(run["outputs"])
    return f"{name}: {run['seconds']:.1f} s, {total} requests = {calls} calls + {repeated} repetitions; they met {met}"


def main() -> int:
    """Runs without and with faults, and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    options = parser.parse_args()
    size = (options.dialogues, options.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        plain, faulty = (consultations(Path(folder), *size, faults) for faults in ({}, FAULTS))
    ideal = max(2 * ROUNDS, math.ceil(options.dialogues * 2 * ROUNDS / options.concurrency)) * LATENCY + 2 * LATENCY
    print(told("without faults", plain))
    print(told("with faults", faulty))
    print(f"ideal {ideal:.0f} s, {os.cpu_count()} cores")
    targets = [
        ("consult_time_over_ideal", plain["seconds"] / ideal, MOST_OVER_IDEAL, ".2f"),
        ("consult_unexplained", unexplained(plain, options.dialogues), 0, "d"),
        ("consult_unexplained_with_faults", unexplained(faulty, options.dialogues), 0, "d"),
    ]
    for name, value, target, form in targets:
        print(f"{name} value={value:{form}} target=<={target} {'met' if value <= target else 'missed'}")
    return int(any(value > target for _, value, target, _ in targets))


if __name__ == "__main__":
    sys.exit(main())
