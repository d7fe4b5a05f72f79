"""The arguments of every verb, one function a verb."""

import argparse
import math

Parser = argparse.ArgumentParser


def _output(parser: Parser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")


def _spending(parser: Parser) -> None:
    prices = 'what a million tokens of each model cost: {"currency": "USD", "models": {"NAME": {"input": 1.5, "output": 6}}}'
    parser.add_argument("--prices", metavar="FILE", help=prices)
    parser.add_argument(
        "--budget",
        type=_real,
        metavar="AMOUNT",
        help="the most that the run folder may cost, by --prices; the run stops before",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what it would cost; nothing is sent or written")


def _true_or_false(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _whole(text: str) -> int:
    """A whole number that the libraries can hold."""
    number = int(text) if len(text) < 30 and text.isascii() else 2**63
    if abs(number) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of at most 18 digits")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no finite number")
    return number


def _seed(text: str) -> int:
    number = _whole(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**32 - 1}")
    return number


def _port(text: str) -> int:
    number = _whole(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**16 - 1}")
    return number


# What argparse calls them, when a text is no number at all.
_whole.__name__ = _seed.__name__ = _port.__name__ = "int"
_real.__name__ = "float"


def _thinking(parser: Parser, role: str = "", who: str = "the model") -> None:
    parser.add_argument(
        f"--{role}enable-thinking", type=_true_or_false, metavar="true|false",
        help=f"whether {who} thinks before it answers, where its chat template reads this (default: the template's own)",
    )  # fmt: skip


def tiny_base(parser: Parser) -> None:
    """Adds the arguments of `medllm tiny-base`."""
    parser.add_argument("dst", metavar="DIR", help="folder to write")
    parser.add_argument("--layers", type=_whole, default=2)
    parser.add_argument("--hidden", type=_whole, default=256, help="width; 4096 is the 7B's")
    parser.add_argument("--vocab", type=_whole, default=4000, help="tokens; 125696 is Baichuan2's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--seed", type=_seed, default=42)
    _output(parser)


def convert(parser: Parser) -> None:
    """Adds the arguments of `medllm convert`."""
    parser.add_argument("src", metavar="SRC", help="checkpoint folder or Hub id")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    parser.add_argument("--template", choices=["medllm", "baichuan2"], default="medllm", help="chat template to stamp in")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto keeps the source's"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    _output(parser)


def merge(parser: Parser) -> None:
    """Adds the arguments of `medllm merge`."""
    parser.add_argument("adapter", metavar="ADAPTER", help="LoRA adapter folder")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    parser.add_argument("--base", help="base checkpoint; default: the one that the adapter names")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto keeps the base's"
    )
    _output(parser)


def _data_inputs(parser: Parser) -> None:
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+",
        help="files (.json, .jsonl, .csv, each also .gz, .parquet), folders, globs or Hub datasets ORG/NAME",
    )  # fmt: skip
    parser.add_argument(
        "--format", default="auto", help="auto (default), disc, firefly, sharegpt, messages, alpaca, huatuo or mcq"
    )
    parser.add_argument("--revision", help="branch, tag or commit of the Hub datasets")
    parser.add_argument(
        "--on-trailing-user", dest="trailing_user", choices=["cut", "drop", "fail"], default="cut",
        help="a last user turn without an answer: cut it (default), drop the dialogue, or stop",
    )  # fmt: skip
    parser.add_argument(
        "--on-bad-row", dest="bad_row", choices=["drop", "fail"], default="drop",
        help="a row that cannot be used: drop it (default), or stop",
    )  # fmt: skip


def data_check(parser: Parser) -> None:
    """Adds the arguments of `medllm data check`."""
    _data_inputs(parser)
    parser.add_argument("--list", dest="list_file", metavar="FILE", help="write every problem to FILE as JSON lines")


def data_build(parser: Parser) -> None:
    """Adds the arguments of `medllm data build`."""
    _data_inputs(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="dataset folder to write")
    parser.add_argument("--license", help="licence id for the card, such as apache-2.0; there is no default")
    parser.add_argument(
        "--near-duplicates", choices=["group", "drop", "off"], default="group",
        help="keep near-duplicates in one split (default), keep one of them, or do not look for them",
    )  # fmt: skip
    parser.add_argument(
        "--benchmarks", nargs="+", default=[], metavar="QUESTIONS",
        help="held-out questions to look for: files, names such as cmexam, or NAME=PATH of its published files",
    )  # fmt: skip
    parser.add_argument(
        "--on-personal-data", choices=["mask", "drop", "refuse"], default="mask",
        help="mask phone numbers, ids, links (default), drop the dialogue, or stop",
    )  # fmt: skip
    parser.add_argument(
        "--on-overlap", choices=["drop", "keep", "refuse"], default="drop",
        help="a dialogue that holds a held-out question: drop it (default), keep it, or stop",
    )  # fmt: skip
    parser.add_argument("--test-fraction", type=_real, default=0.05, help="share of the dialogues in the test split")
    parser.add_argument("--seed", type=_seed, default=42)
    _output(parser)


def eval_mcq(parser: Parser) -> None:
    """Adds the arguments of `medllm eval mcq`."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", metavar="M", help="checkpoint folder or Hub id")
    who.add_argument("--url", metavar="URL#MODEL", help="a model behind an OpenAI-compatible endpoint")
    parser.add_argument("--data", required=True, metavar="FILE_OR_BENCHMARK", help="question file, or a name such as cmexam")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    parser.add_argument("--data-path", metavar="PATH", help="a benchmark's published files; default: its copy on the Hub")
    parser.add_argument("--split", help="split of a benchmark (default: test)")
    parser.add_argument(
        "--mode", choices=["likelihood", "generate"],
        help="compare the probabilities of all answers (default with --model), or read what the model writes (with --url)",
    )  # fmt: skip
    parser.add_argument(
        "--score", choices=["letter", "text"], default="letter",
        help="compare the letters with the options shown (default), or the texts of the answers without them",
    )  # fmt: skip
    parser.add_argument(
        "--normalization", choices=["none", "tokens", "bytes"], default="none",
        help="what an answer's log-probability is divided by (default: nothing)",
    )  # fmt: skip
    parser.add_argument(
        "--shots", type=_whole, default=0, metavar="N", help="solved examples before each question (default: 0)"
    )
    parser.add_argument(
        "--examples", metavar="FILE_OR_BENCHMARK",
        help="a file of them, or a benchmark, NAME or NAME=PATH, for its dev split (default: that of --data)",
    )  # fmt: skip
    parser.add_argument("--seed", type=_seed, default=0, help="of examples and orders of options (default: 0)")
    parser.add_argument("--shuffle-options", action="store_true", help="show each question's options in an order of its own")
    parser.add_argument("--circular", action="store_true", help="ask with every rotation of the options; right if all are")
    parser.add_argument(
        "--no-chat-template", dest="chat_template", action="store_false", help="plain text in place of chat turns"
    )
    parser.add_argument("--max-new-tokens", type=_whole, metavar="N", help="of a written reply (default: 256)")
    parser.add_argument("--concurrency", type=_whole, metavar="N", help="requests at once to the endpoint (default: 8)")
    parser.add_argument(
        "--key-env", metavar="VAR", help="environment variable with the endpoint's key (default: OPENAI_API_KEY)"
    )
    parser.add_argument("--batch-tokens", type=_whole, metavar="N", help="tokens in one forward (default: 8192)")
    _thinking(parser)
    _spending(parser)
    _output(parser)


def eval_consult(parser: Parser) -> None:
    """Adds the arguments of `medllm eval consult`."""
    spec = "URL#MODEL of an endpoint, a checkpoint folder or a Hub id"
    parser.add_argument("--cases", required=True, metavar="FILE", help="cases: one of DISC's published sets, or JSON lines")
    parser.add_argument("--doctor", required=True, metavar="SPEC", help=f"the model under test: {spec}")
    parser.add_argument("--patient", required=True, metavar="SPEC", help="who plays the patients, in the same way")
    parser.add_argument("--judge", metavar="SPEC", help="who scores the dialogues, in the same way; default: nobody")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    parser.add_argument("--turns", default="3", metavar="N|auto", help="rounds (default: 3), or auto: until the patient ends")
    parser.add_argument("--max-turns", type=_whole, metavar="N", help="the most rounds with --turns auto (default: 8)")
    parser.add_argument(
        "--concurrency", type=_whole, default=8, metavar="N", help="requests at once to an endpoint (default: 8)"
    )
    parser.add_argument("--timeout", type=_real, default=300.0, metavar="S", help="seconds for one request (default: 300)")
    parser.add_argument("--seed", type=_seed, default=0, help="every call's own seed is made from it (default: 0)")
    for role, tokens in (("doctor", 1024), ("patient", 256)):
        parser.add_argument(f"--{role}-temperature", type=_real, default=0.0, metavar="T", help="default: 0")
        parser.add_argument(f"--{role}-max-new-tokens", type=_whole, default=tokens, metavar="N", help=f"default: {tokens}")
    key = "environment variable with the endpoints' key (default: OPENAI_API_KEY)"
    parser.add_argument("--key-env", default="OPENAI_API_KEY", metavar="VAR", help=key)
    for role in ("doctor", "patient", "judge"):
        parser.add_argument(f"--{role}-key-env", metavar="VAR", help=f"the same for the {role} alone")
        _thinking(parser, f"{role}-", f"the {role}")
    _spending(parser)
    _output(parser)


def _judge_replies(parser: Parser) -> None:
    parser.add_argument("--temperature", type=_real, default=0.0, metavar="T", help="default: 0")
    parser.add_argument("--seed", type=_seed, default=0, help="every reply's own seed is made from it (default: 0)")
    parser.add_argument("--max-new-tokens", type=_whole, default=2048, metavar="N", help="of a reply (default: 2048)")
    limit = "no headline figure where a larger share of the replies is unscored (default: 0.05)"
    parser.add_argument("--failure-limit", type=_real, default=0.05, metavar="SHARE", help=limit)
    parser.add_argument("--concurrency", type=_whole, default=8, metavar="N", help="requests at once (default: 8)")
    parser.add_argument("--timeout", type=_real, default=300.0, metavar="S", help="seconds for one request (default: 300)")
    key = "environment variable with the endpoint's key (default: OPENAI_API_KEY)"
    parser.add_argument("--key-env", default="OPENAI_API_KEY", metavar="VAR", help=key)
    _thinking(parser, who="the judge")


def eval_judge(parser: Parser) -> None:
    """Adds the arguments of `medllm eval judge`."""
    parser.add_argument("--dialogues", required=True, metavar="FILE_OR_RUN", help="dialogues, or a run of `eval consult`")
    parser.add_argument("--judge", required=True, metavar="SPEC", help="URL#MODEL, a checkpoint folder or a Hub id")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    rubrics = ["disc-medllm", "disc-medllm-plain", "safety", "checklist"]
    parser.add_argument("--rubric", choices=rubrics, default=rubrics[0], help="default: disc-medllm")
    parser.add_argument("--language", choices=["zh", "en"], default="zh", help="of the rubric (default: zh)")
    parser.add_argument("--samples", type=_whole, default=1, metavar="N", help="replies for each dialogue (default: 1)")
    _judge_replies(parser)
    _spending(parser)
    _output(parser)


def eval_pair(parser: Parser) -> None:
    """Adds the arguments of `medllm eval pair`."""
    one = "of one system: a dialogue file, or a run of `eval consult`"
    parser.add_argument("--first", required=True, metavar="FILE_OR_RUN", help=f"the dialogues {one}")
    parser.add_argument("--second", required=True, metavar="FILE_OR_RUN", help="those of the system to compare it with")
    parser.add_argument("--judge", required=True, metavar="SPEC", help="URL#MODEL, a checkpoint folder or a Hub id")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    parser.add_argument("--language", choices=["zh", "en"], default="zh", help="of the question to the judge (default: zh)")
    each = "replies for each case in each of the two orders (default: 1)"
    parser.add_argument("--samples", type=_whole, default=1, metavar="N", help=each)
    _judge_replies(parser)
    _spending(parser)
    _output(parser)


def eval_agree(parser: Parser) -> None:
    """Adds the arguments of `medllm eval agree`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="judge runs, or judged runs of `eval consult`")
    columns = "human labels, .jsonl or .csv: id of the dialogue, annotator, and a column for each criterion"
    parser.add_argument("--labels", nargs="+", default=[], metavar="FILE", help=columns)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    _output(parser)


def eval_import(parser: Parser) -> None:
    """Adds the arguments of `medllm eval import`."""
    parser.add_argument("--scores", required=True, nargs="+", metavar="FILE", help="result_*.jsonl, or folders of them")
    parser.add_argument("--dialogues", metavar="FILE", help="the published dialogues, file or folder, which tell the groups")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    _output(parser)


def report(parser: Parser) -> None:
    """Adds the arguments of `medllm report`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, in the order of the table")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    _output(parser)


def verify(parser: Parser) -> None:
    """Adds the arguments of `medllm verify`."""
    parser.add_argument("repository", metavar="REPO_OR_DIR", help="Hub id or repository folder of a published model")
    parser.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    parser.add_argument("--data", nargs="+", metavar="FILE", help="questions or cases of the runs, for hashes that need them")


def web(parser: Parser) -> None:
    """Adds the arguments of `medllm web`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=_port, default=8501, help="default: 8501; 0 takes a free one")
    chat(parser)


def chat(parser: Parser) -> None:
    """Adds the arguments of `medllm chat`."""
    parser.add_argument(
        "model", metavar="MODEL", help="checkpoint folder, Hub id, or URL#MODEL of an OpenAI-compatible endpoint"
    )
    parser.add_argument("--seed", type=_seed, help="makes sampled answers repeat")
    parser.add_argument("--system", metavar="TEXT", help="system message that begins each conversation")
    parser.add_argument("--temperature", type=_real, help="0 always takes the most probable token (default: the model's own)")
    parser.add_argument("--top-p", type=_real, help="sample among the most probable tokens of this probability together")
    parser.add_argument("--top-k", type=_whole, help="sample among so many of the most probable tokens; 0: all")
    parser.add_argument("--repetition-penalty", type=_real, help="above 1, tokens that were used become less probable")
    parser.add_argument("--max-new-tokens", type=_whole, metavar="N", help="the most tokens of one answer")
    _thinking(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto", help="auto keeps the weights'"
    )
    parser.add_argument("--quantization", choices=["4bit", "8bit"], help="on a GPU, with bitsandbytes")


def demo(parser: Parser) -> None:
    """Adds the arguments of `medllm demo`."""
    parser.add_argument("--out", default="medllm-demo", metavar="DIR", help="folder to write (default: medllm-demo)")
    _output(parser)
