"""ARC: its items, the experiment at its smallest, the reference's recipe, what is said of it."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from datasets import Dataset
from matplotlib import pyplot as plt
from transformers import Qwen2Config, Qwen2ForCausalLM

from plasticity.companion import metrics, models, paths, results
from plasticity.companion.configuration import Runtime
from plasticity.experiments import foam_arc as experiment
from plasticity.experiments import foam_arc_harness
from plasticity.findings import foam_arc as findings
from plasticity.foam.trial.arc import arc_examples, arc_questions
from plasticity.foam.trial.language import build_model, train_tokenizer
from plasticity.foam.trial.scoring import score_choices
from plasticity.plots import foam_arc as plots

CPU = Runtime(device="cpu", workers=1)
TINY = {"items": 6, "skill_items": 1, "examples": 30, "steps": 12, "newborns": 2, "growth_rows": 4}
LABELS = {3: "ABC", 4: "1234", 5: "ABCDE"}


def row(number, choices=4):
    labels = list(LABELS[choices])
    return {
        "question": f"Which of these is number {number}?",
        "choices": {"text": [f"the answer {i} of {number}" for i in labels], "label": labels},
        "answerKey": labels[number % choices],
    }


@pytest.fixture
def arc(monkeypatch):
    """Small test sets in the place of ARC's, and WikiText."""
    rows = [row(n, 3 + n % 3) for n in range(20)]
    sets = {"train": Dataset.from_list(rows[10:]), "test": Dataset.from_list(rows[:10])}
    text = {"train": Dataset.from_dict({"text": ["", *[f"A long story, {'and so ' * 50}"] * 5]})}
    monkeypatch.setattr(experiment.data, "load", lambda name: sets if "arc" in name else text)


def test_items_are_asked_as_the_harness_asks_them():
    three, four, five = arc_questions([row(2, 3), row(6, 4), row(4, 5)], "arc_easy")
    assert three.prompt == "Question: Which of these is number 2?\nAnswer:"
    assert [len(item.choices) for item in (three, four, five)] == [3, 4, 5]
    assert four.choices[four.answer] == "the answer 3 of 6"  # its key is a number
    assert five.choices[five.answer] == "the answer E of 4"
    (example,) = arc_examples([row(6)], "arc_easy")
    assert example.prompt + example.response == f"{four.prompt} the answer 3 of 6"
    with pytest.raises(ValueError, match=r"key of item 0 of arc_easy is 'Z'"):
        arc_questions([row(1) | {"answerKey": "Z"}], "arc_easy")


def values(rows, metric, split=None):
    wanted = rows["metric"].eq(metric) & (rows["split"].eq(split) if split else True)
    return rows.loc[wanted].set_index("step")["value"]


@pytest.mark.parametrize("arm, replay", [("reference_recipe", "arc"), ("ffn_replay", "other")])
def test_an_arm_learns_and_is_scored(arc, tmp_path, arm, replay):
    config = experiment.Config(variant=arm, arm=arm, replay=replay, model="random", **TINY)
    rows = experiment.run(config, 0, tmp_path, CPU)
    for split in experiment.SETS:
        right = values(rows, "item_correct", split)
        assert len(right) == 6 and right.index.is_unique and set(right.index) < set(range(10))
        assert values(rows, "accuracy", split).iloc[0] == right.mean()
    assert (values(rows, "parameters", "added").iloc[0] > 0) == (arm == "reference_recipe")
    assert values(rows, "tokens", "new_task").iloc[0] < values(rows, "tokens", "train").iloc[0]
    assert list(rows["unit"]) == [metrics.metric(name).unit for name in rows["metric"]]
    again = experiment.run(config, 0, tmp_path, CPU)  # kept in its folder
    pd.testing.assert_frame_equal(rows, again)


def test_items_are_the_same_for_all_arms_and_fewer_are_among_more(arc, tmp_path):
    numbers = {}
    for items in (3, 6):
        config = experiment.Config(model="random", **TINY | {"items": items})
        folder = tmp_path / str(items)
        folder.mkdir()
        rows = experiment.run(config, 0, folder, CPU)
        numbers[items] = set(values(rows, "item_correct", "arc_easy").index)
    assert numbers[3] < numbers[6]


def test_the_base_is_scored_once_for_all_seeds(arc, tmp_path, monkeypatch):
    config = experiment.Config(model="random", **TINY)
    monkeypatch.setattr(results.provenance, "result_key", lambda *_: "key")
    rows = experiment.run(config, 1, tmp_path, CPU)
    monkeypatch.setattr(experiment, "_measured", None)  # it would fail if it were asked again
    pd.testing.assert_frame_equal(rows, experiment.run(config, 2, tmp_path, CPU))
    assert not list(tmp_path.glob("*.parquet"))


def test_the_references_recipe_runs_in_bfloat16_with_8_bit_adam(arc, tmp_path, monkeypatch):
    """The path of Qwen2.5-1.5B-Instruct, on a Qwen2 of two layers."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path / "models/tiny"
    tokenizer = train_tokenizer([f"Which of these is number {n}?" for n in range(99)], 300)
    tokenizer.save_pretrained(folder)
    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2)
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), **sizes, num_attention_heads=2, num_key_value_heads=1,
            eos_token_id=0, pad_token_id=1,
        )
    ).save_pretrained(folder)  # fmt: skip
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    entry = {"title": "Tiny", "licence": "free", "citation": "nobody"}
    entry["hub"] = {"repository": "a/b", "revision": "c", "files": files}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}))
    monkeypatch.setattr(paths, "MODELS", tmp_path / "models.yaml")
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path))
    config = experiment.Config(
        arm="reference_recipe", replay="arc", model="tiny", precision="bfloat16",
        optimizer="adamw_8bit", **TINY,
    )  # fmt: skip
    loaded = []
    load = models.load
    monkeypatch.setattr(models, "load", lambda *given: loaded.append(load(*given)) or loaded[-1])
    before = load("tiny", "bfloat16")[0].model.layers[0].mlp.up_proj.weight
    rows = experiment.run(config, 0, tmp_path, CPU)
    trained = loaded[0][0]
    assert trained.dtype == torch.bfloat16 and experiment.models(config) == ("tiny",)
    assert not trained.model.layers[0].mlp.up_proj.weight.equal(before)
    assert values(rows, "parameters", "added").iloc[0] > 0
    assert values(rows, "accuracy").between(0, 100).all()


def test_the_sources_drop_is_within_what_200_items_show():
    rows = experiment.run(experiment.Config(arm="source"), 0, None, CPU)
    assert values(rows, "source_largest_drop").iloc[0] == 5.0
    assert values(rows, "drop_exceeds_sampling_error").iloc[0] == 0
    change = [
        values(rows, f"accuracy_change{end}", "arc_easy").iloc[0] for end in ("_low", "_high")
    ]
    assert np.round(change, 1).tolist() == [-11.9, 4.9]
    assert experiment.datasets(experiment.Config(arm="source")) == ()


def fabricated(variant, shift, items, seeds=(0,)):
    """Rows of an arm that is wrong where the base is right on so many items."""
    rng, lines = np.random.default_rng(0), []
    for seed in seeds:
        for split in experiment.SETS:
            right = rng.permutation(400) < 240
            right[:shift] = False
            for suffix in ("", "_norm"):
                pairs = enumerate(100.0 * right[:items])
                lines += [(seed, n, split, f"item_correct{suffix}", v) for n, v in pairs]
                accuracy = 100 * right[:items].mean()
                lines.append((seed, 0, split, f"accuracy{suffix}", accuracy))
            lines.append((seed, 0, split, "rows", items))
        for skill in ("tools", "identity", "autonomy", "all"):
            lines.append((seed, 0, skill, "skill_accuracy", 40.0))
        lines += [
            (seed, 0, "trained", "parameters", 1e6),
            (seed, 0, "train", "seconds", 60.0),
            (seed, 0, "train", "tokens", 10_000),
            (seed, 0, "all", "peak_bytes", 2e9),
            (seed, 0, "Q4_1", "parameter_share", 80.0),
        ]
        rng = np.random.default_rng(0)
    frame = pd.DataFrame(lines, columns=["seed", "step", "split", "metric", "value"])
    return frame.assign(variant=variant)


@pytest.fixture
def study():
    source = experiment.run(experiment.Config(arm="source"), 0, None, CPU)
    return pd.concat(
        [
            source.assign(variant="source", seed=0),
            fabricated("base", 0, 400),
            fabricated("full_fine_tuning", 100, 300, seeds=(0, 1)),
            fabricated("ffn_replay", 0, 300),
            fabricated("reference_recipe", 0, 300),
            fabricated("lora", 30, 300),
            fabricated("growth_freeze", 0, 300),
        ],
        ignore_index=True,
    )


def test_changes_are_paired_by_item(study):
    base = findings.accuracy(study, "base", "arc_easy")
    assert base.mean == 60 and base.low < 60 < base.high
    lost = findings.change(study, "full_fine_tuning", "arc_easy")
    assert lost.count == 2 and -25 < lost.mean < -15 and lost.high < 0
    same = findings.change(study, "ffn_replay", "arc_easy")
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_what_is_said_follows_the_rows(study):
    said = findings.verdict(study)
    assert "Lower than the base beyond chance on one set at least: full fine-tuning" in said
    assert "no loss beyond chance on either set: FFN + replay of ARC, growth-freeze" in said
    assert "What growth adds" in said and "not settled" in said
    assert "80.0 % Q4_1" in findings.about_base(study, "smollm2_135m_instruct")
    assert "published" not in findings.about_base(study, "random").partition("Published")[2]
    assert "intervals that hold 0" in findings.source(study)
    assert findings.harness(pd.DataFrame()).endswith("beside this scoring.")
    table = findings.arms(study)
    assert table.loc["growth-freeze, no old data", "ARC-Easy accuracy"] == "+0.0"
    for model, published in (("random", False), ("smollm2_135m_instruct", True)):
        base = findings.base_table(study, model)
        assert set(base.index) == {"ARC-Easy", "ARC-Challenge"}
        assert ("published, not quantised" in base.columns) == published
    assert findings.verdict(study[study["variant"].eq("base")]) == "No arm has been measured."


def test_times_are_of_the_seeds_that_every_arm_has(study):
    later = study["seed"].eq(1) & study["metric"].eq("seconds")
    costs = findings.gains_and_costs(study.assign(value=study["value"].where(~later, 6000.0)))
    assert costs["minutes"].tolist() == ["1.0"] * 5
    assert findings.arms(study)["seeds"].tolist() == ["2", "1", "1", "1", "1"]


def test_figure_has_a_line_for_each_arm(study):
    figure = plots.changes(findings.changes(study), findings.skills(study), findings.TITLES)
    assert len(figure.axes) == 3
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == findings.skills(study)["arm"].tolist() and len(names) == 5
    plt.close(figure)


def test_without_weights_the_page_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(paths, "data_folders", lambda: [paths.ROOT / "nowhere"])
    monkeypatch.setattr(models.hub, "reachable", lambda *_: False)
    said = findings.not_measured("smollm2_135m_instruct")
    assert "-p arc True" in said and "plasticity data smollm2_135m_instruct --fetch" in said


def test_scores_are_those_of_the_harness_itself(tmp_path):
    pytest.importorskip("lm_eval")
    rows = [row(n, 3 + n % 3) for n in range(12)]
    tokenizer = train_tokenizer([each["question"] for each in rows], 300)
    model = build_model("XS", len(tokenizer))
    Dataset.from_list(rows).to_parquet(tmp_path / "test.parquet")
    theirs = foam_arc_harness.harness_scores(
        model, tokenizer, "arc_easy", tmp_path / "test.parquet"
    )
    own = score_choices(model, tokenizer, arc_questions(rows, "arc_easy"))
    assert theirs["acc"].tolist() == own["correct"].tolist()
    assert theirs["acc_norm"].tolist() == own["correct_norm"].tolist()


def test_without_the_harness_its_check_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(foam_arc_harness, "PEER", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match=r"plasticity\[peers\]"):
        foam_arc_harness.run(foam_arc_harness.Config(), 0, tmp_path, CPU)
