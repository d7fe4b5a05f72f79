"""Pushes that are cut off or killed: main shows the old model or the new one, and the next push completes."""

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.commands import run
from support.hub_on_disk import start_hub

SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PUSH = """
import contextlib, json, sys
from concurrent.futures import ThreadPoolExecutor
from medllm_hf.hub.commands.push import push_plan as push
from medllm_hf.hub.repository import repository
from medllm_hf.hub.upload import UploadError

def one(name):
    try:
        push(repository("model", sys.argv[1], name), True, True, replace=True)
    except UploadError as error:
        return str(error)

with contextlib.redirect_stdout(sys.stderr), ThreadPoolExecutor(20) as pool:
    said = list(pool.map(one, sys.argv[2:]))
print(json.dumps(said))
"""


def write_model(folder, seed):
    """Three shards of 40 kB, which go to LFS in parts, and some small files."""
    rng = np.random.default_rng(seed)
    (folder / "eval" / "run").mkdir(parents=True)
    for shard in range(3):
        save_file({"w": rng.random(10_000, dtype=np.float32)}, folder / f"model-0000{shard + 1}-of-00003.safetensors")
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json", "eval/run/metrics.json"):
        (folder / name).write_text(json.dumps({"seed": seed, "name": name}))
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\nmodel {seed}\n")
    return folder


class Watched:
    """A Hub that holds the old model under several names, and notes what main of each shows at every request."""

    def __init__(self, root, count):
        self.hub = start_hub(root / "hub", part=2**14)
        self.home = root / "home"
        self.old, self.new = write_model(root / "old", 1), write_model(root / "new", 2)
        self.names = [f"org/model-{number}" for number in range(count)]
        for name in self.names:
            self.hub.store.put("models", name, self.old, private=True)
        self.shown = {name: [] for name in self.names}
        self.counts, self.lock = Counter(), threading.Lock()

    def main(self, name):
        files = self.hub.store.files("models", name)
        return {path: self.hub.store.read("models", name, path) for path in files if path != ".gitattributes"}

    def watch(self, fault):
        """Answers by `fault`, which is told a name and how many requests there were for it."""

        def interfere(method, path):
            found = re.search(r"org/model-\d+", path)
            if not found:
                return None
            with self.lock:
                self.counts[found[0]] += 1
                count = self.counts[found[0]]
            self.shown[found[0]].append(self.main(found[0]))
            return fault(found[0], count)

        self.counts.clear()
        self.hub.interfere = interfere

    def command(self, names):
        return (sys.executable, "-c", PUSH, str(self.new), *names)

    def push(self, names):
        """What a push under each of the names said, or None for one that was done."""
        done = run(*self.command(names), env=self.hub.environment(self.home))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def whole(self):
        """Every name showed the old or the new model at each request, and shows one now; returns how many show the new one."""
        old, new = files_of(self.old), files_of(self.new)
        for name in self.names:
            assert self.shown[name], name
            assert all(shown in (old, new) for shown in [*self.shown[name], self.main(name)]), name
        return sum(self.main(name) == new for name in self.names)

    def completes(self):
        """The next push succeeds under every name; one more sends nothing."""
        self.hub.interfere = lambda method, path: None
        assert self.push(self.names) == [None] * len(self.names)
        assert self.whole() == len(self.names)
        self.hub.requests.clear()
        assert self.push(self.names) == [None] * len(self.names)
        assert [request for request in self.hub.requests if request[0] != "GET"] == []


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def watched(tmp_path, request):
    found = Watched(tmp_path, request.param)
    yield found
    found.hub.close()


def requests_of_a_push(watched):
    """How many requests an undisturbed push of the new model makes; it is under a name of its own."""
    watched.names.append("org/model-999")
    watched.shown["org/model-999"] = []
    watched.hub.store.put("models", "org/model-999", watched.old, private=True)
    watched.watch(lambda name, count: None)
    assert watched.push(["org/model-999"]) == [None]
    return watched.counts["org/model-999"]


@pytest.mark.parametrize(
    ("watched", "lasting"), [(2, False), pytest.param(20, True, marks=pytest.mark.slow)], indirect=["watched"]
)
def test_a_cut_push_leaves_main_whole(watched, lasting):
    names = list(watched.names)
    total = requests_of_a_push(watched)
    rng = random.Random(8)
    moments = {name: (rng.randint(1, total), rng.choice(("cut", "lost"))) for name in names}
    # Without a cut at the commit, which the client does not repeat, all of a few single cuts might be survived.
    moments[names[0]] = (total - 2, "lost" if lasting else "cut")

    def fault(name, count):
        at, kind = moments[name]
        return kind if count == at or (lasting and count > at) else None

    watched.watch(fault)
    said = watched.push(names)
    assert any(said) and all(not line or "again" in line for line in said)
    assert watched.whole() >= said.count(None)
    watched.completes()


@pytest.mark.parametrize("watched", [2, pytest.param(20, marks=pytest.mark.slow)], indirect=True)
def test_a_killed_push_leaves_main_whole(watched):
    names = list(watched.names)
    total = requests_of_a_push(watched)
    rng = random.Random(9)
    environment = {**os.environ, **watched.hub.environment(watched.home)}
    killed = 0
    for name in names:
        at, reached = rng.randint(1, total), threading.Event()
        watched.watch(lambda _, count, at=at, reached=reached: reached.set() if count == at else None)
        process = subprocess.Popen(
            watched.command([name]), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert reached.wait(60)
        time.sleep(rng.random() / 100)
        process.kill()
        killed += process.wait() < 0
    assert killed
    watched.whole()
    watched.completes()


@pytest.mark.parametrize("watched", [1], indirect=True)
def test_what_was_sent_before_the_cut_is_not_sent_again(watched):
    watched.hub.interfere = lambda method, path: "cut" if "/commit/" in path else None
    assert watched.push(watched.names) != [None]
    assert len([method for method, _ in watched.hub.requests if method == "PUT"]) == 9
    watched.hub.requests.clear()
    watched.hub.interfere = lambda method, path: None
    assert watched.push(watched.names) == [None]
    assert len(watched.hub.sent()) == 1
    assert watched.main(watched.names[0]) == files_of(watched.new)
