"""The chapters on the trial and on sequences: tiny runs, and pages made from fabricated rows."""

import dataclasses
import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from plasticity.companion import export, profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.companion.results_files import checked_rows
from plasticity.companion.statistics import summarise
from plasticity.experiments import foam_base, foam_sequential, foam_trial, foam_tuning
from plasticity.findings import foam_sequential as sequence_findings
from plasticity.findings import foam_trial as findings
from plasticity.findings import foam_trial_costs as expenses
from plasticity.findings import foam_trial_verdict as conclusions
from plasticity.findings import foam_tuning as tuning
from plasticity.foam.trial.arms import ARMS, SEQUENCE
from plasticity.foam.trial.bases import Base
from plasticity.foam.trial.language import build_model, train_tokenizer
from plasticity.foam.trial.world import build_world, pretraining_texts
from plasticity.plots import foam_sequential as sequence_plots
from plasticity.plots import foam_trial as plots

TINY = {
    "steps": 12,
    "tokens_per_step": 160,
    "events": 1,
    "newborns": 2,
    "examples": 30,
    "evaluations": 2,
    "progress_items": 8,
    "test_items": 8,
    "probe_items": 12,
}


@pytest.fixture(scope="module", autouse=True)
def small_base():
    """Let the experiments start from an untrained model of a small world."""
    world = build_world(entities=32)
    tokenizer = train_tokenizer(pretraining_texts(world, 2000), 400)
    base = Base(build_model("XS", len(tokenizer)), tokenizer, world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foam_base, "load", lambda name: base)
        patch.setattr(foam_trial, "OLD_TEXTS", 40)
        yield base


def of(rows, **wanted):
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows


@pytest.fixture(scope="module")
def trial_rows(small_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    return {
        arm: foam_trial.run(foam_trial.Config(arm=arm, **TINY), 0, folder, Runtime())
        for arm in ("base", "growth_freeze")
    }


RATES = {f"{arm}{ending}": 0.01 for arm in ARMS for ending in findings.BASES}


def test_a_run_gives_rows_that_the_store_takes(trial_rows):
    for arm, rows in trial_rows.items():
        checked_rows(rows, experiment="foam_trial", variant=arm, profile="smoke", seed=0)


def test_the_base_retains_all_and_costs_nothing(trial_rows):
    rows = trial_rows["base"]
    assert (of(rows, metric="retention")["value"] == 100).all()
    assert of(rows, metric="divergence")["value"].item() == pytest.approx(0, abs=1e-6)
    assert not of(rows, metric="tokens")["value"].any()
    assert not of(rows, metric="parameters")["value"].any()


def test_a_growing_arm_counts_what_was_born(trial_rows):
    rows = trial_rows["growth_freeze"]
    assert of(rows, metric="neurons", split="born")["value"].item() == 3 * 2
    for split in ("added", "trained"):
        assert of(rows, metric="parameters", split=split)["value"].item() == 6 * 3 * 64
    assert of(rows, metric="loss_jump")["value"].tolist() == [0]


def test_items_make_up_the_accuracies(trial_rows):
    rows = trial_rows["growth_freeze"]
    items = of(rows, metric="item_accuracy")
    for split, metric in (("tools", "skill_accuracy"), ("unreplayed", "accuracy")):
        own = of(items, split=f"{foam_trial.BY_ITEM} {split}")["value"]
        assert own.mean() == pytest.approx(of(rows, split=split, metric=metric)["value"].item())


def test_the_way_is_watched_on_validation_data_from_the_start(trial_rows):
    own = of(trial_rows["growth_freeze"], metric="exact_answers", split="on the way: all")
    assert own["step"].tolist() == [0, 6, 12]


def test_the_ablation_writes_both_sides(tmp_path):
    config = foam_trial.Config(arm=foam_trial.ABLATION, **TINY)
    rows = foam_trial.run(config, 0, tmp_path, Runtime())
    assert rows["value"].tolist() == [1.0]
    found = json.loads((tmp_path / "ablation_comparison.json").read_text())
    assert found["difference"]["parameters_added"]["mean"] == 6 * 3 * 64
    assert found["baseline"]["arm"] == "ffn_replay"


def test_tuning_never_sees_the_test_set(monkeypatch):
    asked = []
    real = foam_trial.exam_of
    monkeypatch.setattr(foam_trial, "exam_of", lambda *a: asked.append(a[1]) or real(*a))
    config = foam_tuning.Config(arm="ffn_only", trials=(1e-3, 1e-2), **TINY)
    rows = foam_tuning.run(config, 100, None, Runtime())
    assert set(asked) == {"validation"}
    assert of(rows, split="tried")["value"].tolist() == [1e-3, 1e-2]


def test_skills_in_sequence_are_all_tested_after_each(tmp_path):
    config = foam_sequential.Config(arm="grow_only", **TINY)
    rows = foam_sequential.run(config, 0, tmp_path, Runtime())
    checked_rows(rows, experiment="foam_sequential", variant="x", profile="smoke", seed=0)
    assert of(rows, metric="skill_accuracy", split="tools")["step"].tolist() == [0, 1, 2, 3]
    assert of(rows, metric="neurons", split="born")["value"].tolist() == [6, 6, 6]
    assert of(rows, metric="retention", step=0)["value"].item() == 100


def test_backward_transfer_compares_the_end_with_the_moment_after_learning():
    courses = {"tools": (0, 80, 60, 50), "identity": (0, 10, 90, 95), "autonomy": (0, 0, 0, 70)}
    found = [
        {
            **{(skill, "skill_accuracy"): course[n] for skill, course in courses.items()},
            ("unreplayed", "accuracy"): 90 - 9 * n,
        }
        for n in range(4)
    ]
    rows = {(step, metric): value for step, _, metric, value in foam_sequential._kept(found)}
    assert rows[3, "backward_transfer"] == (50 - 80 + 95 - 90) / 2
    assert rows[3, "forgetting"] == (80 - 50 + 0) / 2
    assert rows[2, "retention"] == 80


@pytest.mark.parametrize(
    ("config", "bad", "message"),
    [
        (foam_trial.Config, {"arm": "none"}, "arm"),
        (foam_trial.Config, {"base": "large"}, "base"),
        (foam_trial.Config, {"test_items": 0}, "test_items"),
        (foam_sequential.Config, {"arm": "joint"}, "arm"),
        (foam_tuning.Config, {"tuned": "steps"}, "tuned"),
    ],
)
def test_bad_settings_are_refused_by_name(config, bad, message):
    with pytest.raises(ValueError, match=message):
        config(**bad)


# --- pages ------------------------------------------------------------------------------------


def fabricated(level, seeds=3, items=12):
    """Return rows of every arm on both bases; ``level`` gives (acquired, kept) of a variant."""
    rng, lines = np.random.default_rng(0), []
    for arm, ending, seed in itertools.product(ARMS, findings.BASES, range(seeds)):
        acquired, kept = level(arm, ending)
        noise = rng.normal(0, 0.5)
        one = [("all", "skill_accuracy", acquired + noise)]
        one += [(skill, "skill_accuracy", acquired + noise) for skill in foam_sequential.ORDER]
        for split in ("unreplayed", "replayed", "stories", "grammar"):
            one += [(split, "accuracy", kept + noise), (split, "retention", kept + noise)]
        one += [("old_texts", "loss", 1.0), ("old_texts", "divergence", 0.1)]
        one += [("trained", "parameters", 1e4), ("added", "parameters", 1e3)]
        one += [("new_task", "tokens", 1e5), ("train", "tokens", 1e5)]
        one += [("train", "step_seconds", 0.02)]
        rows = [(0, *each) for each in one]
        rows += [(30, "events", "loss_jump", 0.0)] if ARMS[arm].grows else []
        for split in (*foam_sequential.ORDER, "unreplayed"):
            share = (kept if split == "unreplayed" else acquired) / 100
            right = 100.0 * (rng.random(items) < share)
            rows += [(n, f"by item: {split}", "item_accuracy", v) for n, v in enumerate(right)]
        for step in (0, 50, 100):
            rows += [(step, "on the way: all", "exact_answers", acquired * step / 100)]
            rows += [(step, "on the way: unreplayed", "fact_accuracy", kept)]
        lines += [(f"{arm}{ending}", seed, *row, "percent") for row in rows]
    names = ["variant", "seed", "step", "split", "metric", "value", "unit"]
    return pd.DataFrame(lines, columns=names)


def replay_does_it(arm, ending):
    return (80.0, 95.0 if ARMS[arm].replay else 60.0 if ARMS[arm].train == "all" else 80.0)


@pytest.fixture(scope="module")
def rows():
    return fabricated(replay_does_it)


def test_contrasts_find_the_effect_that_is_there_and_no_other(rows):
    found = findings.contrasts(rows).set_index(["contrast", "outcome"])
    assert len(found) == 2 * len(findings.CONTRASTS)
    assert found.loc[("C2", "kept"), "low"] > 30
    assert found.loc[("C1", "kept"), "low"] < 0 < found.loc[("C1", "kept"), "high"]
    assert (found["p_holm"] >= found["p"]).all()
    both = found.loc[("C2", "kept"), ["item_low", "item_high"]]
    assert both["item_low"] < 35 < both["item_high"] + 20


def test_a_contrast_at_one_rate_takes_the_second_arm_at_the_rate_of_the_first(rows):
    assert findings.contrasts(rows, alike=True).empty
    second = rows[rows["variant"] == "full_fine_tuning"]
    second = second.assign(variant="full_fine_tuning_C2")
    both = pd.concat([rows, second])
    found = findings.contrasts_said(both, RATES | {"full_fine_tuning_C2": 0.7}, alike=True)
    assert list(found.index) == 2 * ["C2: replay"]
    assert set(found["rates"]) == {f"{RATES['replay_20']:g}, 0.7"}
    assert len(findings.contrasts(both)) == 2 * len(findings.CONTRASTS)  # as without it
    said = conclusions.verdict(both, RATES | {"full_fine_tuning_C2": 0.7})
    assert "(C2): settled is C2, kept (+3" in said and "at one rate" not in conclusions.verdict(
        rows, RATES
    )


def test_the_way_adds_up(rows):
    found = findings.way(rows)
    for _, own in found.groupby(["base", "measure"]):
        means = own["mean"].tolist()
        assert sum(means[:-1]) == pytest.approx(means[-1])


def test_main_effects_need_all_cells(rows):
    assert findings.main_effects(rows).shape == (3, 2)
    assert findings.main_effects(rows[rows["variant"] != "growth_ffn"]).empty


def test_tables_hold_every_arm(rows):
    assert len(findings.arms(rows, RATES)) == len(ARMS) == len(findings.ARMS)
    assert list(findings.headline(rows).columns)[:3] == ["Neural Foam", "base", "delta"]
    assert len(findings.contrasts_said(rows, RATES)) == 14
    one_seed = findings.contrasts_said(rows[rows["seed"] == rows["seed"].min()], RATES)
    assert set(one_seed["p, Holm"]) == {"—"}  # of one difference there is no p
    unlike = RATES | {"full_fine_tuning": 0.5}
    answers = findings.contrasts_said(rows, unlike).set_index("outcome", append=True)["settled"]
    assert answers["C2: replay", "kept"] == "yes, at unlike rates"
    assert findings.contrasts_said(rows, RATES)["settled"].isin(["yes", "no"]).all()
    assert findings.arms(rows, unlike).loc["full fine-tuning", "rate"] == "0.5"


def test_costs_say_when_an_arm_has_enough(rows):
    # Straight from 0 to 80 in 100,000 tokens: at 95 % of 80 after 95,000.
    assert expenses.tokens_until(rows, "lora", 76).tolist() == pytest.approx([95_000] * 3)
    assert expenses.tokens_until(rows, "lora", 81).isna().all()
    assert expenses.tokens_until(rows, "lora", 0).tolist() == [0, 0, 0]
    speed = pd.DataFrame([["memory/lora", "peak_bytes", 5e7]], columns=["split", "metric", "value"])
    table = expenses.costs(rows, speed)
    assert list(table.index) == [name for arm, (name, _) in findings.ARMS.items() if arm != "base"]
    assert table.loc["LoRA", "tokens to 95 %"] == "95,000, by 3 of 3 seeds"
    assert table.loc["LoRA", "peak memory, MB"] == "50"
    assert table.loc["EWC", "peak memory, MB"] == "—"
    assert table.loc["LoRA", "mean on the way, %"].startswith("40.0")
    early = (rows["metric"] == "exact_answers") & (rows["step"] > 0)  # at once 80, so 60 on average
    soon = expenses.costs(rows.assign(value=rows["value"].mask(early, 80.0)), speed)
    assert soon.loc["LoRA", "mean on the way, %"].startswith("60.0")
    assert "peak memory, MB" not in expenses.costs(rows, speed, "_saturated")
    slow = rows["value"].where(
        ~((rows["variant"] == "lora") & (rows["metric"] == "exact_answers")), rows["value"] / 2
    )
    slower = expenses.costs(rows.assign(value=slow), speed)
    assert slower.loc["LoRA", "tokens to 95 %"] == "by 0 of 3 seeds"


def test_a_page_says_how_much_is_asked():
    configs = profiles.configs("foam_trial", "laptop")
    most = max(config.test_items for config in configs)
    assert f"asked {most} items of a skill and up to " in findings.asked(configs)


def test_sentences_follow_the_numbers(rows):
    said = conclusions.verdict(rows, RATES)
    assert "is not shown to change what is kept" in said and "reaches the 95 %" in said
    assert "Not judged" not in said
    alone = conclusions.verdict(rows[rows["seed"] == rows["seed"].min()], RATES)
    assert "retained by: no arm. Not judged, for want of seeds: full fine-tuning; " in alone

    def growth_helps(arm, ending):
        acquired, kept = replay_does_it(arm, ending)
        acquired -= 20 if arm == "growth_freeze" else 0
        return acquired, kept + (5 if ARMS[arm].grows else 0)

    def growth_teaches(points):
        def level(arm, ending):
            acquired, kept = replay_does_it(arm, ending)
            return acquired + (points if ARMS[arm].grows else 0), kept

        return conclusions.verdict(fabricated(level), RATES)

    own = "helps to learn skills [(]{}.*?points of skills, {}settled after Holm's correction"
    assert re.search(own.format(r"\+[45]", ""), growth_teaches(5))
    assert re.search(own.format(r"\+1", "not "), growth_teaches(1.6))
    said = conclusions.verdict(fabricated(growth_helps), RATES)
    assert "helps to keep facts" in said and "does not reach" in said
    assert "keeps more than LoRA," in said
    reached = said.split("are asked), is reached by ")[1].split(" points).")[0]
    assert [each.split(" (")[0] for each in reached.split("; ")] == [
        "growth, FFN trained",
        "growth-freeze + self-made replay",
        "static width",
        "random start",
        "random place",
    ]
    assert "no old data either, it is reached by LoRA + self-made replay (" in said
    assert "texts of the base's own, each as tuned, growth is not shown to change what is l" in said
    assert "points) and adds to what is kept (+" in said

    def springs_do_it(arm, ending):
        return 80.0, 95.0 if arm.endswith("ewc_self") else 80.0

    held = fabricated(springs_do_it)
    said = conclusions.verdict(held, RATES)
    assert "is reached by growth + EWC from self-made texts (" in said
    without = said.split("no old data either, it is reached by ")[1]
    assert without.startswith("EWC from self-made texts (")
    alike = held[held["variant"] == "ewc_self"].assign(variant="ewc_self_alike")
    alike.loc[alike["metric"] == "accuracy", "value"] += 9
    said = conclusions.verdict(pd.concat([held, alike]), RATES)
    assert "at one strength, growth " in said and "takes from what is kept (-" in said

    def springs_alone(arm, ending):
        return 80.0, 95.0 if arm == "ewc_self" else 80.0

    said = conclusions.verdict(fabricated(springs_alone), RATES)
    assert "is reached **by none**. Of arms that add none" in said
    assert "Their learning rates differ" not in said
    unlike = conclusions.verdict(held, RATES | {"reference_recipe": 0.5})
    assert unlike.count("(0.5, 0.01), so this is of the arms as tuned") == 1
    assert unlike.count("(0.01, 0.01, 0.01, 0.5), so this") == 1
    assert "the base answers" in said and "items that ask for nothing new" in said


def test_a_part_of_the_arms_makes_a_page_too(rows):
    few = rows[rows["variant"].isin(["base", "full_fine_tuning", "lora", "growth_freeze"])]
    assert conclusions.verdict(few, RATES) and findings.way(few).empty
    assert len(findings.contrasts(few)) == 2
    assert len(findings.contrasts_said(few, {"growth_freeze": 0.1, "lora": 0.2})) == 2
    alone = rows[rows["variant"].isin(["base", "full_fine_tuning", "lora"])]
    assert findings.bases(alone) == [] and findings.contrasts_said(alone, RATES).empty


def test_figures_are_drawn(rows):
    titles = {"unsaturated": "One", "saturated": "Other"}
    for figure in (
        plots.acquisition_and_retention(findings.points(rows), titles),
        plots.decomposition(findings.way(rows)),
        plots.course(*findings.course(rows)),
    ):
        assert all(axes.has_data() for axes in figure.axes)
        plt.close(figure)


def tuning_rows():
    acquired = {"lora": (10, 70, 80, 79), "ewc_saturated": (80, 79, 50, 10)}
    lines = []
    for variant, values in acquired.items():
        name = "penalty_strength" if variant.startswith("ewc") else "learning_rate"
        for trial, value in enumerate(values):
            lines += [
                (variant, 100, trial, "all", "exact_answers", value),
                (variant, 100, trial, "unreplayed", "fact_accuracy", 90 - value / 2),
                (variant, 100, trial, "tried", name, 10.0**trial),
            ]
    return pd.DataFrame(lines, columns=["variant", "seed", "step", "split", "metric", "value"])


def test_the_gentlest_setting_of_the_good_ones_is_chosen():
    found = tuning.trials(tuning_rows())
    chosen = found[found["chosen"]].set_index("variant")["value"]
    assert chosen.to_dict() == {"lora": 100.0, "ewc_saturated": 10.0}
    said = tuning.chosen(found, [foam_trial.Config(variant="ewc", arm="ewc")])
    assert "LoRA (unsaturated base): 100;" in said and "most like: EWC" in said
    assert (
        "Seeds of each trial: on the unsaturated base 1 for LoRA; on the saturated base 1" in said
    )
    more = tuning_rows().query("variant == 'lora'").assign(seed=101)
    twice = pd.concat([tuning_rows(), more.assign(value=more["value"].mask(more["step"] == 3, 99))])
    again = tuning.trials(twice).set_index(["variant", "trial"])
    assert again.loc[("lora", 3), "acquisition"] == (79 + 99) / 2
    assert "on the unsaturated base 2 for LoRA" in tuning.chosen(again.reset_index(), [])
    both = [foam_trial.Config(arm=arm, base="saturated") for arm in ("lora", "slow_fine_tuning")]
    assert (
        "saturated base these have no trials of their own, and learn with what was chosen on "
        "the first: LoRA." in tuning.chosen(found, both)
    )
    third = [foam_trial.Config(arm="lora", base="larger")]
    assert "On the larger base these have no trials" in tuning.chosen(found, third)
    assert "On the saturated base these" not in tuning.chosen(found, third)
    tried = tuning.trials(tuning_rows().replace("lora", "lora_larger"))
    assert set(tried.query("arm == 'LoRA'")["base"]) == {"larger"}
    short = tuning.trials(tuning_rows().query("step < 3"))
    assert "at an end" not in said
    assert "Chosen was the highest: LoRA (unsaturated base)." in tuning.chosen(short, both)
    assert tuning.trials(tuning_rows()[:0]).empty
    figure = plots.trials(found, {"unsaturated": "One", "saturated": "Other"})
    assert len(figure.axes) == 2
    plt.close(figure)


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_every_setting_is_the_one_that_its_trials_chose(profile):
    trials = tuning.trials(results.load("foam_tuning", "paper").rows)
    tried = {config.variant: config for config in profiles.configs("foam_tuning", "paper")}
    trial = {config.variant: config for config in profiles.configs("foam_trial", profile)}
    for variant, value in trials[trials["chosen"]].set_index("variant")["value"].items():
        if variant in trial:
            assert getattr(trial[variant], tried[variant].tuned) == value, variant
            if tried[variant].tuned != "learning_rate":
                assert trial[variant].learning_rate == tried[variant].learning_rate, variant


def sequence_rows(seeds=3):
    rng, lines = np.random.default_rng(1), []
    for number, (arm, seed) in enumerate(itertools.product(SEQUENCE, range(seeds))):
        shift = number // seeds + rng.normal(0, 0.1)
        for step, skill in itertools.product(range(4), foam_sequential.ORDER):
            lines.append((arm, seed, step, skill, "skill_accuracy", 20.0 * step + shift))
        for step in range(4):
            lines.append((arm, seed, step, "unreplayed", "retention", 100 - 10 * step + shift))
            if step:
                lines.append((arm, seed, step, "born", "neurons", 6.0))
                lines.append((arm, seed, step, "replaced", "neurons", 1.0))
        lines.append((arm, seed, 3, "all", "backward_transfer", shift - 10))
        lines.append((arm, seed, 3, "all", "skill_accuracy", 60.0))
    names = ["variant", "seed", "step", "split", "metric", "value"]
    return pd.DataFrame(lines, columns=names).assign(unit="percent")


def test_the_chapter_on_sequences_says_what_its_rows_hold():
    rows = sequence_rows()
    rates = dict.fromkeys(SEQUENCE, 0.004)
    said = sequence_findings.sequence(rows, rates)
    assert "as tuned" not in said
    unlike = sequence_findings.sequence(rows, rates | {"v3": 0.008})
    assert "But grow-only learns at 0.004 and V3 replacement at 0.008" in unlike
    assert unlike.count("as tuned") == 2
    alike = rows[rows["variant"] == "grow_only"].assign(variant="grow_only_alike")
    both = sequence_findings.sequence(pd.concat([rows, alike]), rates | {"v3": 0.008})
    assert "Against V3, grow-only, at V3's rate keeps less of the earlier skills" in both
    assert "replacement itself" in both and "replacement itself" not in said
    assert "grow-only keeps less of the earlier skills" in said and "V3 beats" in said
    assert len(sequence_findings.table(rows, rates)) == len(SEQUENCE)
    labels = {arm: sequence_findings.ARMS[arm] for arm in sequence_findings.measured(rows)}
    figure = sequence_plots.course(summarise(rows), labels)
    assert len(figure.axes) == 4 and all(axes.has_data() for axes in figure.axes)
    plt.close(figure)


def test_every_arm_has_a_name_on_the_page():
    assert set(findings.ARMS) == set(ARMS)
    assert set(sequence_findings.ARMS) == {*SEQUENCE, sequence_findings.ALIKE}
    families = {family for _, family in findings.ARMS.values()}
    assert families <= set(plots.FAMILIES)


def test_the_exported_comparison_is_paired(rows):
    tree = export.ablation(rows)
    own = {name: tree[name]["tool_use"]["by_seed"] for name in export.ABLATION}
    change = np.mean(np.subtract(own["neural_foam"], own["baseline"]))
    assert tree["difference"]["tool_use"]["mean"] == pytest.approx(change)
    json.dumps(tree, allow_nan=False)
    with pytest.raises(ValueError, match="reference_recipe"):
        export.ablation(rows[rows["variant"] == "ffn_replay"])


def test_configs_survive_json():
    config = foam_tuning.Config(trials=(1e-3, 1e-2))
    again = foam_tuning.Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert dataclasses.replace(again) == config
