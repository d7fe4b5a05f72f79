"""Published consultations as dialogues for judging."""

import json
from collections import Counter

import pytest

from medllm_hf.data.consultations import consultations
from medllm_hf.errors import UserError

TURNS = [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": "发热吗？"}]
ROW = {"id": "0-1", "model": "m", "source": "CMD", "dataset_info": {"department": "儿科"}, "conversation": TURNS}


def write_array(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def test_exact_records(tmp_path):
    intent = {**ROW, "source": "CMID", "dataset_info": {"label_36class": "病因", "label_4class": "病症"}}
    clinic = {name: value for name, value in ROW.items() if name != "dataset_info"} | {"source": "CMB-clin"}
    record = {"id": "CMD/m/0-1", "case_id": "0-1", "model": "m", "source": "CMD", "group": "儿科", "turns": TURNS}
    assert consultations(write_array(tmp_path / "a.json", [ROW, intent, clinic])) == [
        record,
        {**record, "id": "CMID/m/0-1", "source": "CMID", "group": "病症"},
        {**record, "id": "CMB-clin/m/0-1", "source": "CMB-clin", "group": ""},
    ]


def test_all_published_files(disc):
    folder = disc / "eval"
    samples = {
        source: {row["id"]: row for row in json.loads((folder / "samples" / name).read_text(encoding="utf-8"))}
        for source, name in (("CMB-clin", "CMB-cases.json"), ("CMD", "cmd_samples.json"), ("CMID", "cmid_samples.json"))
    }
    files = sorted((folder / "dialogues").glob("*.json"))
    assert len(files) == 18
    every = []
    for file in files:
        rows = consultations(str(file))
        source, model = rows[0]["source"], rows[0]["model"]
        assert file.stem == f"{model}_{source.lower()}"
        assert len(rows) == {"CMB-clin": 73, "CMD": 121, "CMID": 120}[source]
        assert {(row["source"], row["model"]) for row in rows} == {(source, model)}
        # One consultation of CMD in each file has no case among the samples.
        assert {row["case_id"] for row in rows} ^ set(samples[source]) == ({"0-33275"} if source == "CMD" else set())
        for row in rows:
            case = samples[source].get(row["case_id"], {"department": "儿科"})
            assert row["group"] == case.get("department", case.get("cate", ""))
            assert [turn["role"] for turn in row["turns"]] == ["patient", "doctor"] * 3
        assert all(count >= 20 for count in Counter(row["group"] for row in rows).values())
        every += rows
    assert len(every) == 6 * (73 + 121 + 120)
    assert consultations(str(folder / "dialogues")) == every
    assert len({row["id"] for row in every}) == len(every)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ([], "a list, not an object"),
        ({**ROW, "id": 1}, "id: not a text"),
        ({**ROW, "model": ""}, "model: not a text"),
        ({**ROW, "source": "\ud800"}, "source: text that is not valid Unicode"),
        ({**ROW, "conversation": None}, "conversation: not a list"),
        ({**ROW, "conversation": []}, "last word"),
        ({**ROW, "conversation": TURNS[:1]}, "last word"),
        ({**ROW, "conversation": TURNS[::-1]}, r"conversation\[0\]: not a turn of the patient"),
        ({**ROW, "conversation": [TURNS[0], "x"]}, r"conversation\[1\]: not a turn of the doctor"),
        ({**ROW, "conversation": [TURNS[0], {"role": "doctor", "content": " "}]}, r"conversation\[1\]: no text"),
        ({**ROW, "conversation": [TURNS[0], {"role": "doctor", "content": "\ud800"}]}, "Unicode"),
        ({**ROW, "dataset_info": []}, "dataset_info: not an object"),
        ({**ROW, "dataset_info": {"department": 3}}, "a group that is not a text"),
        (ROW, "'CMD/m/0-1' a second time"),
    ],
)
def test_bad_rows_are_named(row, named, tmp_path):
    with pytest.raises(UserError, match=rf"a\.json:2 .*{named}"):
        consultations(write_array(tmp_path / "a.json", [ROW, row]))


def test_bad_files_are_named(tmp_path):
    (tmp_path / "a.json").write_text('[{"id": ')
    with pytest.raises(UserError, match=r"a\.json:1 file: the file ends"):
        consultations(str(tmp_path / "a.json"))
    with pytest.raises(UserError, match="no consultations in .*b.json"):
        consultations(write_array(tmp_path / "b.json", []))
    with pytest.raises(UserError, match=r"none\.json"):
        consultations(str(tmp_path / "none.json"))
