"""The chapter on the anatomy: what its two experiments measure, draw and say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import claims, metrics, profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_anatomy, substrate_rules
from plasticity.findings import substrate_anatomy as findings
from plasticity.plots import substrate_anatomy as plots
from plasticity.plots import substrate_graph
from plasticity.plots import substrate_rules as rule_plots
from plasticity.substrate import NEURON_DTYPE, SYNAPSE_DTYPE, Brain

CPU = Runtime(device="cpu", workers=1)


def measured(experiment, folder, **settings):
    config = experiment.Config(**settings)
    parts = [
        experiment.run(config, seed, folder, CPU).assign(seed=seed, variant="default")
        for seed in range(2)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return measured(substrate_anatomy, tmp_path_factory.mktemp("anatomy"), graphs=8, cuts=20)


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    return measured(substrate_rules, folder, updates=600, uses=200, draws=3000)


def values(rows, metric, split, seed=0):
    chosen = (rows["metric"] == metric) & (rows["split"] == split) & (rows["seed"] == seed)
    return rows[chosen].set_index("step")["value"].sort_index()


# Rows


@pytest.mark.parametrize("experiment", [substrate_anatomy, substrate_rules])
def test_profiles_run_it_and_it_needs_no_data(experiment):
    name = experiment.__name__.rpartition(".")[2]
    for profile in ("smoke", "laptop", "paper"):
        [config] = profiles.configs(name, profile)
        assert experiment.datasets(config) == ()


def test_rows_are_tidy_and_known(rows, rules):
    for table in (rows, rules):
        assert not table.duplicated(["seed", "step", "split", "metric"]).any()
        assert np.isfinite(table["value"]).all()
        for metric, unit in table[["metric", "unit"]].drop_duplicates().itertuples(index=False):
            assert metrics.metric(metric).unit == unit


def test_a_seed_measures_the_same_again(rows, rules, tmp_path):
    config = substrate_anatomy.Config(graphs=8, cuts=20)
    again = substrate_anatomy.run(config, 1, tmp_path, CPU)
    same = rows[(rows["seed"] == 1) & (rows["split"] != "cache line")]["value"]
    np.testing.assert_array_equal(again[again["split"] != "cache line"]["value"], same)
    again = substrate_rules.run(
        substrate_rules.Config(updates=600, uses=200, draws=3000), 1, tmp_path, CPU
    )
    np.testing.assert_array_equal(again["value"], rules[rules["seed"] == 1]["value"])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="graphs is 1; allowed: 2 to"):
        substrate_anatomy.Config(graphs=1)
    with pytest.raises(ValueError, match="updates is 5; allowed: 100 to"):
        substrate_rules.Config(updates=5)


# Spread


def test_what_is_left_of_a_pulse_is_a_power_of_the_leak(rows):
    for leak in (0.0, 0.5, 0.8, 0.95, 1.0):
        found = values(rows, "activation", f"leak {leak}")
        np.testing.assert_allclose(found, leak ** found.index.to_numpy(float), rtol=1e-5)


def test_only_what_is_above_the_threshold_is_emitted(rows):
    for threshold in (0.0, 0.5, 1.0):
        found = values(rows, "emitted_value", f"threshold {threshold}")
        put = found.index.to_numpy() / 10
        np.testing.assert_allclose(found, np.where(put > threshold, put, 0), rtol=1e-6)


def test_a_goal_turns_the_competition(rows):
    weaker = values(rows, "emits", "0.4 of the input")
    stronger = values(rows, "emits", "0.6 of the input")
    assert (weaker + stronger == 1).all()
    assert weaker[18] == 0 and weaker[22] == 1


def test_three_of_a_group_emit_and_all_keep_their_activation(rows):
    emits, activation = (values(rows, name, "group") for name in ("emits", "activation"))
    assert emits.sum() == 3
    assert activation[emits == 1].min() > activation[emits == 0].max() > 0


def test_the_gain_of_working_memory_follows_its_law(rows):
    for strength in (1.0, 0.5):
        found, law = (
            values(rows, "gain", f"strength {strength}{end}").to_numpy() for end in ("", ", law")
        )
        np.testing.assert_allclose(found, law, rtol=1e-6)
        assert (np.diff(found) < 0).all()


def test_paths_multiply_along_their_synapses():
    brain = substrate_anatomy.weather()
    brain.set(np.arange(len(brain)), leak=0.0)
    brain.spread("cloud", cycles=4, trace=True)
    [path] = [p for p in brain.explain("fall", k=0).paths if len(p.neurons) == 5]
    weights = [0.9, 0.8, 0.7, 0.6]
    assert path.contribution == pytest.approx(np.prod(weights), rel=1e-6)


def test_a_followed_spread_is_the_spread():
    brain = substrate_anatomy.weather()
    emission = brain.spread(["cloud", "sprinkler"], cycles=3)
    neurons, synapses = substrate_anatomy.followed(brain, emission)
    last = neurons[neurons["cycle"] == 3].set_index("neuron")
    assert sorted(last.index[last["emits"]]) == sorted(emission.names())
    for name in last.index[last["hit"]]:
        assert last["activation"][name] == pytest.approx(emission.value(name), rel=1e-6)
    hit = neurons[(neurons["cycle"] == 1) & neurons["hit"]].set_index("neuron")["activation"]
    delivered = synapses[synapses["cycle"] == 1].groupby("target")["delivered"].sum()
    np.testing.assert_allclose(hit, delivered[hit.index], rtol=1e-6)


def test_growth_goes_from_the_log_into_rows():
    stages = [table for _, table in substrate_anatomy.grown()]
    assert stages[0]["pending"].all() and not stages[1]["pending"].any()
    assert stages[0]["next"].tolist() == [-1, -1, -1, 1, -1]
    assert stages[2]["pending"].sum() == 2
    assert stages[3]["source"].is_monotonic_increasing
    assert stages[3]["weight"].min() > 0.35


# Source code, memory, durability


def test_source_is_searched_for_matrix_products():
    search = substrate_anatomy.matrix_products
    assert search("a @ b") == ["@"] and search("a @= b") == ["@"]
    assert search("np.dot(a, b)") == ["dot"] and search("a.matmul(b)") == ["matmul"]
    assert search("from torch import nn") == ["torch"]
    assert search("@cache\ndef f(x):\n    return x * dot") == []


def test_what_is_no_public_primitive_is_seen():
    used = substrate_anatomy.primitives(
        "from plasticity.substrate.graph import Graph\nself.brain.graph.merge()\nbrain.spread()"
    )
    assert set(used) - substrate_anatomy.PRIMITIVES == {"substrate.graph.Graph", "graph"}


def test_the_domains_written_so_far_use_public_primitives_only(rows):
    assert values(rows, "primitive_uses", "not public")[0] == 0
    assert values(rows, "domains", "all")[0] >= 4


def test_checks_hold(rows):
    for metric in ("no_matrix_product", "paths_add_up", "reopens_at_a_commit"):
        assert (rows[rows["metric"] == metric]["value"] == 1).all(), metric
    assert values(rows, "memory_layout_holds", "rows")[0] == 1
    assert rows[rows["metric"] == "path_error"]["value"].max() < 1e-6


def test_cuts_of_the_log_lead_from_no_commit_to_the_last(rows):
    found = values(rows, "commits_found", "cut log")
    assert found.is_monotonic_increasing
    assert sorted(set(found)) == [0, 1, 2, 3]


# Rules


def test_the_modulator_scales_learning(rules):
    ends = [values(rules, "weight", f"modulator {m}")[20] for m in substrate_rules.MODULATORS]
    assert ends[0] == 0 and (np.diff(ends) > 0).all() and ends[-1] < 1


def test_hebbian_weights_stay_within_their_limit(rules):
    for name, sign in (("together", 1), ("apart", -1)):
        found = values(rules, "weight", f"hebbian, {name}")
        assert (np.diff(found) * sign > 0).all() and abs(found).max() < 1


def test_negatives_push_other_pairs_down(rules):
    pairs, others = (
        values(rules, "weight", f"contrast, {name}")[60] for name in ("pairs", "others")
    )
    assert pairs > 0.4 and others < -0.1


def test_features_point_along_the_principal_directions(rules):
    for seed in range(2):
        for split in ("oja, component 1", "sanger, component 1", "sanger, component 2"):
            assert values(rules, "alignment", split, seed).iloc[-1] > 0.9


def test_credit_of_a_delayed_reward_decays(rules):
    for decay in (0.5, 0.8, 0.95):
        found, law = (
            values(rules, "weight", f"reward, decay {decay}{end}") for end in ("", ", law")
        )
        np.testing.assert_allclose(found, law, atol=1e-4)


def test_adam_in_a_synapse_is_near_adam_in_floating_point(rules):
    for seed in range(2):
        assert values(rules, "weight_difference", "errors, adam - float", seed)[0] < 0.05
        ends = {
            name: values(rules, "squared_error", f"errors, {name}", seed).iloc[-1]
            for name in ("adam", "float")
        }
        assert ends["adam"] == pytest.approx(ends["float"], rel=0.5)


def test_float_adam_takes_steps_of_its_learning_rate():
    adam = substrate_rules.FloatAdam(2, 0.1)
    adam.step(np.array([3.0, -0.001]))
    np.testing.assert_allclose(adam.weights, [0.1, -0.1], rtol=1e-4)


def test_counts_become_shares(rules):
    counted = rules[rules["split"].str.startswith("count")]
    assert counted[counted["metric"] == "weight_difference"]["value"].max() < 1e-6


def test_surprising_episodes_are_lived_more_often(rules):
    found, law = (values(rules, "replay_share", name) for name in ("replay", "replay, law"))
    assert found.sum() == pytest.approx(100)
    np.testing.assert_allclose(found, law, atol=3)


def test_consolidation_moves_and_prunes(rules):
    in_rows, pending = (
        values(rules, "synapses", f"consolidation, {name}") for name in ("rows", "pending")
    )
    assert in_rows[0] == 0 and in_rows[1] == pending[0] and pending[1] == 0
    assert 0 < in_rows[2] < in_rows[1]


# Figures and sentences


def test_records_are_drawn_from_their_types():
    figure = plots.records(NEURON_DTYPE, SYNAPSE_DTYPE)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert set(NEURON_DTYPE.names) | set(SYNAPSE_DTYPE.names) <= set(texts)
    assert "float32, byte 16" in texts and "neuron: 64 bytes" in texts
    plt.close("all")


def test_every_figure_can_be_drawn(rows, rules):
    brain = substrate_anatomy.weather()
    emission = brain.spread(["cloud", "sprinkler"], cycles=4, trace=True)
    followed = substrate_anatomy.followed(brain, emission)
    assert set(plots.WEATHER) == set(followed[0]["neuron"])
    explained = brain.explain("fall", k=0)
    figures = {
        "growth": (plots.growth(substrate_anatomy.grown()), 1),
        "spread": (substrate_graph.spread(*followed, plots.WEATHER, weights=True), 6),
        "primitives": (plots.primitives(rows), 6),
        "explanation": (plots.explanation(explained.table(), explained.activation, "fall"), 1),
        "domains": (plots.domains(rows), 1),
        "rules": (rule_plots.rules(rules), 9),
        "keeping": (rule_plots.keeping(rules, rows), 2),
    }
    for name, (figure, panels) in figures.items():
        assert len(figure.axes) == panels, name
        figure.canvas.draw()
    plt.close("all")


def test_sentences_follow_the_rows(rows, rules):
    text = findings.anatomy(rows, rules)
    assert (
        "A neuron takes 64 bytes and a synapse 16; after consolidation the synapses do lie" in text
    )
    assert "holds no matrix product" in text and "still open" not in text
    assert "In 16 random brains the paths behind every activation add up" in text
    assert "Every time the brain reopens" in text
    broken = rows.copy()
    checks = {"no_matrix_product", "paths_add_up", "reopens_at_a_commit", "memory_layout_holds"}
    broken.loc[broken["metric"].isin(checks), "value"] = 0.0
    text = findings.anatomy(broken, rules)
    for failure in (
        "**a** matrix product",
        "do **not** add up",
        "**Not every time**",
        "do not lie",
    ):
        assert failure in text
    assert "does not start at a cache line" in text


def test_claims_of_the_chapter_are_decided_by_these_rows(rows):
    mine = [claim for claim in claims.load() if claim.experiment == "substrate_anatomy"]
    assert len(mine) == 4
    known = {claim.id: claims.judge(claim, {"laptop": rows}).verdict for claim in mine}
    assert known["sub-modality"] == "reproduced"
    assert known["sub-no-matmul"] == "reproduced"


def test_a_random_brain_is_the_same_for_the_same_numbers():
    one, other = (substrate_anatomy.random_brain(np.random.default_rng(3)) for _ in range(2))
    assert isinstance(one, Brain)
    np.testing.assert_array_equal(one.edges(), other.edges())
    assert len(one.graph.pending) and len(one.graph.synapses)
