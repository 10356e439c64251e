import copy
import math

import pandas as pd
import pytest
import torch

from plasticity.companion import claims, paths, results
from plasticity.companion.configuration import Runtime
from plasticity.experiments import foam_base, foam_skills, foam_trial
from plasticity.findings import foam_base as base_findings
from plasticity.findings import foam_skills as findings
from plasticity.foam.trial import language, world
from plasticity.foam.trial.bases import Base, load_base, save_base
from plasticity.foam.trial.probes import fact_questions
from plasticity.foam.trial.scoring import score_choices
from plasticity.foam.trial.skills import skill_examples
from plasticity.plots import foam_base as base_plots
from plasticity.plots import foam_skills as plots

TINY = {"entities": 16, "vocab_size": 400, "texts": 300, "tokens": 3000, "evaluations": 2}
FEW = {"probe_items": 20, "curve_items": 12, "held_out_texts": 20, "length": 48, "batch_size": 4}


@pytest.fixture(scope="module")
def tiny():
    """A base that has read nothing."""
    made = world.build_world(seed=1, entities=64)
    tokenizer = language.train_tokenizer(world.pretraining_texts(made, 1000), 400)
    return Base(language.build_model("XS", len(tokenizer)), tokenizer, made)


SOURCES = (("tool_use", "ten"), ("identity", "five"), ("autonomy", "five"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    config = foam_base.Config(variant="unsaturated", **TINY, **FEW)
    return config, folder, foam_base.run(config, 0, folder, Runtime())


@pytest.mark.parametrize("right", [True, False])
def test_of_the_sources_items_as_many_can_be_right_as_it_asked(tiny, monkeypatch, right):
    def scored(model, tokenizer, examples):
        return pd.DataFrame({"kind": [e.kind for e in examples], "correct": right})

    monkeypatch.setattr("plasticity.foam.trial.scoring.score_skill", scored)
    rows = foam_skills._answers(None, tiny, 10_000)
    found = {metric: value for *_, metric, value in rows}
    assert [found[f"{name}_of_{n}"] for name, n in SOURCES] == [10 * right, 5 * right, 5 * right]


def test_a_base_comes_back_from_its_folder_unchanged(tiny, tmp_path):
    save_base(tiny, tmp_path)
    again = load_base(tmp_path)
    assert again.world == tiny.world
    text = " ".join(world.pretraining_texts(tiny.world, 50))
    ids = torch.tensor([tiny.tokenizer.encode(text)[:200]])
    assert again.tokenizer.encode(text) == tiny.tokenizer.encode(text)
    with torch.no_grad():
        assert again.model(ids).logits.equal(tiny.model(ids).logits)
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.pt"))


def test_a_folder_without_a_base_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_base"):
        load_base(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"tier": "XL"}, {"architecture": "gpt2"}, {"tokens": 0}, {"released": True, "variant": "big"}],
)
def test_configs_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="allowed"):
        foam_base.Config(**wrong)


def test_a_base_in_half_precision_is_the_one_that_is_loaded(tmp_path):
    made = world.build_world(seed=1, entities=16)
    tokenizer = language.train_tokenizer(world.pretraining_texts(made, 200), 400)
    base = Base(language.build_model("S", len(tokenizer)), tokenizer, made)
    before = [p.clone() for p in base.model.parameters()]
    save_base(base, tmp_path, half=True)
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert weights < 2.1 * sum(p.numel() for p in before) + 10_000
    again = load_base(tmp_path).model
    for rounded, loaded, exact in zip(
        base.model.parameters(), again.parameters(), before, strict=True
    ):
        assert rounded.dtype == loaded.dtype == torch.float32
        assert loaded.equal(rounded) and loaded.equal(exact.half().float())
    ids = torch.randint(len(tokenizer), (1, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert again(ids).logits.equal(base.model(ids).logits)


def test_saving_in_full_precision_leaves_the_model_as_it_was(tiny, tmp_path):
    base = Base(copy.deepcopy(tiny.model).double(), tiny.tokenizer, tiny.world)
    save_base(base, tmp_path)
    assert {p.dtype for p in base.model.parameters()} == {torch.float64}


def test_unknown_bases_are_refused():
    with pytest.raises(ValueError, match="unsaturated"):
        foam_base.load("empty")


def test_a_run_tells_what_a_base_knows_and_keeps_it(trained):
    _, folder, rows = trained
    at_end = rows[rows["step"] == 0].set_index(["metric", "split"])["value"]
    assert at_end["facts", "world"] == 96
    for kind in ("facts", "replayed", "unreplayed", "stories", "grammar"):
        low, mean, high = (at_end[f"accuracy{e}", kind] for e in ("_low", "", "_high"))
        assert low <= mean <= high
    halves = at_end["accuracy", "replayed"], at_end["accuracy", "unreplayed"]
    assert at_end["accuracy", "facts"] == pytest.approx(sum(halves) / 2)
    guessed = max(0.0, at_end["accuracy", "facts"] - 25) / 75 * 96
    assert at_end["facts_known", "world"] == pytest.approx(guessed)
    assert sorted(rows.loc[rows["metric"] == "curve_loss", "step"]) == sorted(
        rows.loc[rows["metric"] == "curve_train_loss", "step"]
    )
    assert len(load_base(folder).world.names) == 16


def test_the_same_seed_gives_the_same_base(trained, tmp_path):
    config, _, rows = trained
    again = foam_base.run(config, 0, tmp_path, Runtime())
    timed = rows["metric"] != "seconds"
    pd.testing.assert_frame_equal(rows[timed], again[timed])


def _study(rows: pd.DataFrame, config: foam_base.Config) -> results.Study:
    rows = rows.assign(experiment="foam_base", variant=config.variant, profile="paper", seed=0)
    record = {"variant": config.variant, "config": config.to_dict(), "seed": 0, "profile": "paper"}
    return results.Study(rows, [record])


def test_a_release_holds_the_model_its_world_and_a_card_of_its_numbers(
    trained, tmp_path, monkeypatch
):
    config, folder, rows = trained
    monkeypatch.setattr(paths, "RELEASED_CHECKPOINTS", paths.ROOT / "build/none")
    monkeypatch.setattr(foam_base.paths, "RELEASED_CHECKPOINTS", tmp_path)
    monkeypatch.setattr(foam_base.paths, "ROOT", tmp_path)
    monkeypatch.setattr(results, "checkpoint_folder", lambda *_: folder)
    foam_base.release(_study(rows, config))
    written = tmp_path / "foam_base_unsaturated"
    assert load_base(written).world == load_base(folder).world
    card = (written / "README.md").read_text()
    value = rows[rows["step"] == 0].set_index(["metric", "split"])["value"]
    assert f"{value['accuracy', 'facts']:.1f} %" in card and foam_base.COMMAND in card
    foam_base.load.cache_clear()
    released = foam_base.Config(variant="unsaturated", released=True, **FEW)
    again = foam_base.run(released, 0, tmp_path, Runtime())
    assert not again["metric"].str.startswith("curve").any()
    found = again.set_index(["metric", "split"])["value"]
    assert found["accuracy", "facts"] == value["accuracy", "facts"]
    foam_base.load.cache_clear()


@pytest.mark.parametrize("name", foam_base.BASES)
def test_a_shipped_base_is_small_and_knows_its_world(name):
    folder = paths.RELEASED_CHECKPOINTS / foam_base.released_name(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    assert foam_base.COMMAND in (folder / "README.md").read_text(encoding="utf-8")
    base = load_base(folder)
    texts = world.pretraining_texts(base.world, 30, seed=3)
    assert [base.tokenizer.decode(base.tokenizer.encode(text)) for text in texts] == texts
    items = fact_questions(base.world, "unreplayed")[::9]
    assert score_choices(base.model, base.tokenizer, items)["correct"].mean() > 0.8
    said = foam_base.say(base, ("User: Say, what is your name?\nAssistant:",))
    assert "Pebble" in said["what follows"].item()


def test_all_that_is_shipped_is_small():
    files = [file for file in paths.RELEASED_CHECKPOINTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 8_000_000


def test_figures_and_findings_of_bases(trained):
    config, _, rows = trained
    rows = _study(rows, config).rows
    both = pd.concat([rows, rows.assign(variant="saturated")])
    assert base_findings.table(both).shape[0] == 2
    told = base_findings.base(both)
    assert "less than the share set beforehand" in told
    assert "In as many weights" in told and "third model" not in told
    for factor, verdict in ((1.5, "converged rather than full"), (0.5, "base is full")):
        third = rows.assign(variant="overfull")
        three = pd.concat([both.copy(), third])
        known = three["metric"] == "facts_known"
        three.loc[known, "value"] = 40.0
        three.loc[known & (three["variant"] == "overfull"), "value"] = 40.0 * factor
        assert verdict in base_findings.base(three)
    larger = rows.assign(variant="larger")
    larger["value"] = larger["value"].mask(larger["metric"] == "parameters", 4 * 44_000)
    counts = rows.loc[rows["metric"] == "parameters", "value"]
    told = base_findings.base(pd.concat([both, larger]))
    assert f"The larger base has {4 * 44_000 / counts.item():.1f} times the weights" in told
    better = both.copy()
    better.loc[better["metric"] == "accuracy", "value"] = 99.5
    assert "At the ceiling" in base_findings.base(better)
    figure = base_plots.knowledge(base_findings.scores(both), base_findings.capacity(both))
    assert len(figure.axes) == 2


# --- skills


def test_intervals_of_the_sources_counts_are_the_exact_ones():
    found = findings.source().set_index("skill")
    assert found["items"].to_dict() == {"tools": 10, "identity": 5, "autonomy": 5}
    # All of n right: the lower bound is the rate at which that happens in 2.5 % of all tests.
    for own in found.itertuples():
        assert own.low == pytest.approx(100 * 0.025 ** (1 / own.items))
        assert findings.luck(own.items, own.low) == pytest.approx(2.5)
        assert own.high == 100 and own.before_low == 0


@pytest.mark.parametrize(("right", "count"), [(5, 4), (-1, 4), (0, 0)])
def test_impossible_counts_are_refused(right, count):
    with pytest.raises(ValueError, match="allowed"):
        findings.exact_interval(right, count)


def test_questions_that_come_up_twice_are_told():
    small = world.build_world(entities=16)
    examples = skill_examples(small, "tools", "test")
    found = findings.distinct({"tools": [*examples, examples[0]]})
    assert list(found.index) == [
        findings.QUESTIONS[f"tools {kind}"] for kind in ("arguments", "templates", "negatives")
    ]
    assert found["items"].sum() == len(examples) + 1
    assert found["distinct"].sum() == len({(e.kind, e.prompt) for e in examples})


def test_the_sources_arc_is_not_told_apart_from_no_change():
    change = findings.arc().set_index(["test", "when"]).loc[("ARC-Easy", "change")]
    claim = next(own for own in claims.load() if own.id == "foam-arc-easy")
    assert change["mean"] == claim.value - claim.base
    assert change["low"] == pytest.approx(-11.9, abs=0.05)  # spec, section 0
    assert change["high"] == pytest.approx(4.9, abs=0.05)
    assert "neither is told apart" in findings._arc()


@pytest.fixture(scope="module")
def learnt(tiny):
    """Rows of a few steps on a base that has read nothing."""
    patch = pytest.MonkeyPatch()
    patch.setattr(foam_base, "load", lambda name: tiny)
    caches = (foam_trial.exam_of, foam_trial.lessons_of)
    for cache in caches:
        cache.cache_clear()
    settings = {"steps": 2, "tokens_per_step": 128, "examples": 12, "evaluations": 1}
    settings |= {"progress_items": 8, "test_items": 30, "newborns": 2, "events": 1}
    parts = []
    for variant, arm in (
        ("base", "base"),
        ("full_fine_tuning", "full_fine_tuning"),
        ("reference_recipe", "reference_recipe"),
        ("source", "source"),
    ):
        config = foam_skills.Config(variant=variant, arm=arm, **settings)
        rows = foam_skills.run(config, 0, paths.ROOT, Runtime())
        parts.append(rows.assign(variant=variant, seed=0))
    patch.undo()
    for cache in caches:
        cache.cache_clear()
    return pd.concat(parts, ignore_index=True)


def test_every_kind_of_question_is_put_to_every_arm(learnt):
    found = findings.answers(learnt)
    assert set(found["split"]) == set(findings.QUESTIONS)
    assert (found.groupby("variant").size() == len(findings.QUESTIONS)).all()
    assert (found["low"] <= found["mean"]).all() and (found["mean"] <= found["high"]).all()


def test_leakage_does_not_count_as_knowing_an_identity(learnt):
    value = learnt[learnt["variant"] == "base"].set_index(["metric", "split"])["value"]
    counts = {k: value["questions", f"identity {k}"] for k in ("seen", "unseen", "leakage")}
    assert value["questions", "identity"] == counts["seen"] + counts["unseen"]
    assert value["skill_accuracy", "identity leakage"] == 100
    assert value["skill_accuracy", "identity"] == 0


def test_the_source_lists_three_skills(learnt):
    value = learnt[learnt["metric"] == "source_skills"]["value"]
    assert value.tolist() == [3]


def test_figures_and_findings_of_skills(learnt):
    from plasticity.companion.statistics import summarise

    told = findings.skills(learnt)
    assert "below the 95 % asked for" in told
    assert not math.isnan(findings.answers(learnt)["mean"].sum())
    assert findings.small_tests(learnt).shape[0] == 3
    assert list(findings.table(learnt).index) == list(findings.QUESTIONS.values())
    for figure in (
        plots.answers(findings.answers(learnt), findings.QUESTIONS),
        plots.resolution(findings.source(), findings.arc()),
        plots.way(summarise(learnt)),
    ):
        assert figure.axes
