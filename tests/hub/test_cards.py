"""The model card: complete in both languages, its metadata as the Hub takes them, and its licence that of the base."""

import json
import shutil

import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, metadata_load
from huggingface_hub import repocard_data as cards
from huggingface_hub._eval_results import parse_eval_result_entries
from support.published_model import consultation, exams, publish

from medllm_hf.errors import UserError
from medllm_hf.folders import read_json, write_json
from medllm_hf.hub.card_facts import model_lines
from medllm_hf.hub.samples import sample_lines

TRAINING = {
    "run": {"steps": 1200, "epochs": 2.0, "dialogues_read": 470000, "tokens": 9, "trained_tokens": 7, "parameters": 5,
            "trained_parameters": 5, "last_loss": 1.23456, "last_eval_loss": 1.5},
    "settings": {"learning_rate": 2e-05, "num_train_epochs": 2},
    "hardware": {"devices": 4, "device": "NVIDIA A800", "cores_of_this_node": 64},
    "versions": {"medllm_hf": "0.1.0", "trl": "1.16.0"},
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    return [*exams(tiny["base"], folder), consultation(tiny["base"], folder)]


@pytest.fixture
def model(tiny, tmp_path):
    return shutil.copytree(tiny["base"], tmp_path / "model")


def parts(folder):
    """The metadata and the text of a repository's card."""
    card = ModelCard.load(folder / "README.md")
    assert "{{" not in card.text and "{%" not in card.text
    return metadata_load(folder / "README.md"), card.text


def test_every_part_is_there_in_both_languages(model, evaluated, tmp_path):
    _, text = parts(publish(model, tmp_path / "out", evaluated, base_model="org/base"))
    heads = ("Use · 使用", "Sample dialogues · 对话示例", "Results · 评测结果", "Data · 数据",
             "Training and environment · 训练与环境", "Licence · 许可", "Limits · 局限", "Contact · 联系",
             "Citation · 引用")  # fmt: skip
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(heads)
    commands = [f"{verb} org/tiny-7b" for verb in ("vllm serve", "medllm chat", "medllm verify")]
    notes = ("Not a medical device", "本模型不是医疗器械", "https://huggingface.co/org/base", "@misc{")
    for said in ("from_pretrained", "pipeline(", *commands, *notes):
        assert said in text


def test_metadata_is_what_the_hub_takes(model, evaluated, tmp_path):
    data, _ = parts(publish(model, tmp_path / "out", evaluated, base_model="org/base", datasets=["org/data"]))
    assert (data["license"], data["language"], data["base_model"]) == ("apache-2.0", ["zh"], "org/base")
    assert (data["datasets"], data["pipeline_tag"]) == (["org/data"], "text-generation")
    assert {"medical", "conversational", "medllm_hf"} <= set(data["tags"])
    _, results = cards.model_index_to_eval_results(data["model-index"])
    values = {(one.metric_args["run"], one.metric_type): one.metric_value for one in results}
    accuracy = read_json(evaluated[0] / "metrics.json")["accuracy"]
    assert values["exam", "accuracy"] == accuracy
    assert {key: values["talk/judge", key] for key in ("overall", "proactivity", "accuracy", "helpfulness")} == {
        "overall": 4.0, "proactivity": 4.0, "accuracy": 3.0, "helpfulness": 5.0}  # fmt: skip
    assert all(type(value) is float for value in values.values())
    assert all("95% interval" in one.metric_name and "n=" in one.metric_name for one in results)


def test_a_registered_benchmark_gets_an_entry_of_the_leaderboard_and_no_other_run_does(model, evaluated, tmp_path):
    out = publish(model, tmp_path / "out", evaluated, benchmarks=["exam=org/bench#zero_shot"])
    assert [path.name for path in (out / ".eval_results").iterdir()] == ["exam.yaml"]
    read = yaml.safe_load((out / ".eval_results" / "exam.yaml").read_text(encoding="utf-8"))
    (found,) = parse_eval_result_entries(read)
    assert isinstance(found, EvalResultEntry)
    assert (found.dataset_id, found.task_id) == ("org/bench", "zero_shot")
    assert found.value == read_json(evaluated[0] / "metrics.json")["accuracy"] and type(found.value) is float
    assert found.date == read_json(evaluated[0] / "manifest.json")["ended"]
    assert "n=8" in found.notes and "95% interval" in found.notes
    assert not (publish(model, tmp_path / "none", evaluated) / ".eval_results").exists()


@pytest.mark.parametrize("text", ["exam", "exam=bench#task", "exam=org/bench", "gone=org/bench#task", "talk/judge=org/b#t"])
def test_a_benchmark_that_is_none_is_refused(model, evaluated, tmp_path, text):
    with pytest.raises(UserError, match="--benchmark"):
        publish(model, tmp_path / "out", evaluated, benchmarks=[text])


def test_a_judge_without_a_headline_has_no_figure_and_says_why(model, tiny, tmp_path):
    talk = consultation(tiny["base"], tmp_path, verdict="很好，没有意见。")
    data, text = parts(publish(model, tmp_path / "out", [talk]))
    assert "model-index" not in data
    assert "none: " in text and "2 of 2 replies are unscored" in text


@pytest.mark.parametrize(
    ("settings", "words"), [({"patient_style": "terse"}, "terse patients"), ({"protocol": "disc"}, "DISC's protocol")]
)
def test_the_card_says_how_consultations_were_held(model, tiny, tmp_path, settings, words):
    talk = consultation(tiny["base"], tmp_path)
    manifest = read_json(talk / "manifest.json")
    write_json(talk / "manifest.json", {**manifest, "settings": manifest["settings"] | settings})
    data, text = parts(publish(model, tmp_path / "out", [talk]))
    assert f"| cases.jsonl ({words}) |" in text
    results = data["model-index"][0]["results"]
    assert {one["dataset"]["name"] for one in results} == {f"cases.jsonl ({words})"}
    assert {one["dataset"]["type"] for one in results} == {"cases"}


def test_the_terms_of_baichuan2_are_carried_over(model, tmp_path):
    for base_model, source in (("baichuan-inc/Baichuan2-7B-Chat", None), (None, "Baichuan2-7B-Base")):
        if source:
            write_json(model / "provenance.json", {**read_json(model / "provenance.json"), "source": source})
        with pytest.raises(UserError, match="--license other, for which the card names the Community License for Baichuan2"):
            publish(model, tmp_path / "out", base_model=base_model)
        out = publish(model, tmp_path / f"out{source}", license="other", base_model=base_model)
        data, text = parts(out)
        assert (data["license"], data["license_name"]) == ("other", "baichuan2-community-license")
        assert data["license_link"].startswith("https://huggingface.co/baichuan-inc/")
        for said in ("1 million daily active users", "opensource@baichuan-inc.com", "100 万", "社区许可协议"):
            assert said in text


def test_another_base_keeps_its_licence(model, tmp_path):
    data, text = parts(publish(model, tmp_path / "out", base_model="Qwen/Qwen3-8B"))
    assert data["license"] == "apache-2.0" and "license_name" not in data
    assert "The terms of [Qwen/Qwen3-8B]" in text and "baichuan2" not in text.lower()


def test_recipe_environment_and_screening_are_told(model, evaluated, tmp_path):
    write_json(model / "training.json", TRAINING)
    (model / "LICENSE").write_text("the text")
    built = tmp_path / "built"
    built.mkdir()
    screened = (
        "---\nlicense: cc-by-4.0\n---\n\n## Screening\n\n- Exact duplicates: 12 left out.\n\nmore\n\n## Inputs\n\n- `x`\n"
    )
    (built / "README.md").write_text(screened, encoding="utf-8")
    out = publish(model, tmp_path / "out", evaluated, datasets=[f"org/data={built}", "org/more"])
    _, text = parts(out)
    for said in ("| steps 步数 | 1,200 |", "| last training loss 最终训练损失 | 1.2346 |", "4 x NVIDIA A800", "trl 1.16.0",
                 "| learning rate 学习率 | 2e-05 |", "licence 许可 cc-by-4.0", "  - Exact duplicates: 12 left out.",
                 "datasets/org/more", "[LICENSE](LICENSE)"):  # fmt: skip
        assert said in text, said
    assert "- `x`" not in text
    assert (out / "datasets" / "org--data.md").read_text(encoding="utf-8") == screened
    assert json.loads((out / "training.json").read_text()) == TRAINING


@pytest.mark.parametrize(("dataset", "named"), [("data", "ORG/NAME"), ("org/data=gone", "no README.md in gone")])
def test_a_dataset_that_is_none_is_refused(model, tmp_path, dataset, named):
    with pytest.raises(UserError, match=named):
        publish(model, tmp_path / "out", datasets=[dataset])


def test_two_dialogues_of_a_consult_run_are_shown_as_they_came(model, tiny, tmp_path):
    talk = consultation(tiny["base"], tmp_path)
    rows = [json.loads(line) for line in (talk / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
    _, text = parts(publish(model, tmp_path / "out", [talk]))
    assert "Unedited output" in text and "未经编辑" in text and "The first 2 consultations of `eval/talk`, not chosen" in text
    for row in rows:
        for turn in row["turns"]:
            who = "Patient 患者" if turn["role"] == "patient" else "Model 模型"
            assert f"> **{who}:** {turn['content']}" in text.replace("\\", "")


def test_what_a_model_says_is_no_markup(tmp_path):
    said = "# 标题\n<b>粗</b> | a_b\n\n- 列\n1. 一\n---\n<!-- own words of the publisher -->"
    messages = [{"role": "user", "content": "问"}, {"role": "assistant", "content": said, "cut": True}]
    settings = {"do_sample": False, "max_new_tokens": 9, "dtype": "float32", "device": "cpu"}
    write_json(tmp_path / "samples.json", {"settings": settings, "dialogues": [{"messages": messages}]})
    lines = sample_lines(tmp_path)
    shown = lines[lines.index("> **Question 提问:** 问") :]
    assert shown == [
        "> **Question 提问:** 问", ">", "> **Model 模型:** \\# 标题\\", "> &lt;b&gt;粗&lt;/b&gt; \\| a\\_b\\", "> \\- 列\\",
        "> 1\\. 一\\", "> \\---\\", "> &lt;!-- own words of the publisher --&gt; **[cut at the limit 到长度上限]**",
    ]  # fmt: skip


@pytest.mark.slow
def test_samples_are_asked_for_and_the_same_again(model, tmp_path):
    out = publish(model, tmp_path / "out", samples=True)
    found = read_json(out / "samples.json")
    assert [len(one["messages"]) for one in found["dialogues"]] == [4, 4] and found["settings"]["do_sample"] is False
    again = publish(model, tmp_path / "again", samples=True)
    assert read_json(again / "samples.json")["dialogues"] == found["dialogues"]
    assert "### Dialogue 2 · 对话 2" in (out / "README.md").read_text(encoding="utf-8")


def test_size_memory_and_sampling_follow_from_the_files():
    config = {"architectures": ["A"], "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 5000, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2, "max_position_embeddings": 8192}
    text = "\n".join(model_lines(config, {}, {"BF16": 1_000_000, "F32": 10}))
    assert "| parameters 参数量 | 1,000,010 |" in text and "| weights 权重 | 2.0 MB, bfloat16, float32 |" in text
    # 2 x 2 layers x 2 heads x 16 numbers of 2 bytes a token: 1.05 and 2.10 MB.
    assert "3.0 MB at 4,096 tokens, 4.1 MB at 8,192 tokens" in text and "send temperature 0" in text
    sampled = {"do_sample": True, "temperature": 0.3, "top_k": 5}
    text = "\n".join(model_lines({**config, "kv_lora_rank": 512}, sampled, {"F32": 1_000_000}))
    assert "4.0 MB for the weights, without cache" in text and "temperature 0.3, top\\_k 5, as generation" in text
    assert "context" not in "\n".join(model_lines({"n_layer": 2}, {}, {"F8_E4M3": 8}))
