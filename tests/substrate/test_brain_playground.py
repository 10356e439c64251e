"""The substrate's playground: answers of the taught brain, figures, sentences and widgets."""

import re
import time

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import metrics, notebooks, paths, profiles
from plasticity.companion.configuration import Runtime
from plasticity.companion.playground import board
from plasticity.experiments import substrate_playground
from plasticity.experiments.substrate_playground import FIRST, NOTHING, answer, taught
from plasticity.findings import substrate_playground as findings
from plasticity.plots import substrate_playground as plots

PLAIN = FIRST._replace(goal=NOTHING, held=NOTHING, modulator=0.0)


def draw(**question):
    found = answer(substrate_playground.Question(**question))
    shown = found.paths, found.activation, found.question.asked, found.learnt
    return plots.answer(found.neurons, found.synapses, *shown)


def last(question, column="before"):
    return answer(question).learnt.set_index("neuron")[column]


class TestTaught:
    def test_facts_told_more_often_are_stronger(self):
        brain = taught()
        for source, relation, target, times in substrate_playground.FACTS:
            [weight] = brain.weights(source, target, relation)
            law = 1 - (1 - substrate_playground.LEARNING_RATE) ** times
            assert weight == pytest.approx(law, rel=1e-5)

    def test_every_neuron_has_a_place(self):
        assert set(plots.PLACES) == set(substrate_playground.names())
        places = np.array(list(plots.PLACES.values()))
        distances = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
        assert distances[~np.eye(len(places), dtype=bool)].min() > 0.76  # two radii


class TestAnswer:
    def test_depends_on_its_question_alone(self):
        one, other = answer(FIRST), answer(FIRST)
        pd.testing.assert_frame_equal(one.neurons, other.neurons)
        pd.testing.assert_frame_equal(one.learnt, other.learnt)

    @pytest.mark.parametrize("asked", ["happy", "garden", "sleep", "afraid"])
    def test_paths_add_up(self, asked):
        found = answer(FIRST._replace(asked=asked))
        assert found.paths["contribution"].sum() == pytest.approx(found.activation, abs=1e-5)

    def test_what_nothing_reaches_has_no_paths(self):
        found = answer(PLAIN._replace(words="fish", cycles=1, asked="cheese"))
        assert found.paths.empty and found.activation == 0

    def test_a_goal_lifts_its_neuron(self):
        plain = last(PLAIN)
        assert last(PLAIN._replace(goal="sleep"))["sleep"] > plain["sleep"]

    def test_what_is_held_answers_more_strongly(self):
        held = last(PLAIN._replace(held="cat", cycles=1))["cat"]
        assert held == pytest.approx(np.e * last(PLAIN._replace(cycles=1))["cat"], rel=1e-5)

    def test_the_newest_in_mind_is_strongest(self):
        gains = [
            last(PLAIN._replace(held=held, cycles=1))["cat"] for held in ("bark, cat", "cat, bark")
        ]
        assert gains[0] > gains[1]

    def test_without_a_modulator_nothing_is_learnt(self):
        found = answer(PLAIN).learnt
        np.testing.assert_allclose(found["before"], found["after"], atol=1e-6)
        more, less = (last(PLAIN._replace(modulator=m), "after")["garden"] for m in (2.0, 0.5))
        assert more > less > last(PLAIN)["garden"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"words": " , "}, r"words is ' , '; allowed: names such as cloud, dog"),
            ({"words": "cloud, dgo"}, r"no neuron is called 'dgo'.*dog.*allowed: afraid, bark"),
            ({"goal": "money"}, "no neuron is called 'money'"),
            ({"held": "cta"}, "no neuron is called 'cta'"),
            ({"cycles": 9}, "cycles is 9; allowed: 1 to 8"),
            ({"modulator": -1.0}, "modulator is -1.0; allowed: 0 to 3"),
        ],
    )
    def test_errors_are_named(self, changes, message):
        with pytest.raises(ValueError, match=message):
            answer(FIRST._replace(**changes))

    def test_an_answer_and_its_picture_take_less_than_two_seconds(self):
        everyone = ", ".join(substrate_playground.names())
        longest = FIRST._replace(words=everyone, cycles=8, held=everyone)
        draw(**longest._asdict())
        started = time.process_time()  # of this process: others may be busy
        figure = draw(**longest._asdict())
        figure.canvas.draw()
        assert time.process_time() - started < 2
        plt.close("all")


class TestExperiment:
    def test_rows(self, tmp_path):
        config = substrate_playground.Config(repeats=1)
        rows = substrate_playground.run(config, 0, tmp_path, Runtime(device="cpu"))
        value = rows.set_index("metric")["value"]
        assert value["neurons"] == len(substrate_playground.names())
        assert value["synapses"] == len(substrate_playground.FACTS)
        assert [metrics.metric(name).unit for name in rows["metric"]] == rows["unit"].tolist()
        text = findings.brain(rows)
        assert f"It has {value['neurons']:.0f} neurons and {value['synapses']:.0f}" in text

    def test_profiles(self):
        for profile in ("smoke", "laptop", "paper"):
            [config] = profiles.configs("substrate_playground", profile)
            assert substrate_playground.datasets(config) == ()
        with pytest.raises(ValueError, match="repeats is 0; allowed: 1 to"):
            substrate_playground.Config(repeats=0)


class TestShown:
    @pytest.mark.parametrize("cycles", [1, 4, 8])
    def test_figure(self, cycles):
        figure = draw(**FIRST._replace(cycles=cycles)._asdict())
        assert len(figure.axes) == cycles + 1 + 2
        assert figure.axes[0].get_title(loc="left") == "input"
        why, strongest = figure.axes[-2:]
        last = "Why happy?" if cycles == 1 else "Why happy, in cycle 4? The paths add up"
        assert why.get_title(loc="left") == last
        assert [one.get_text() for one in why.texts][:1] == ["nothing reached happy"] or cycles > 1
        assert len(strongest.get_yticks()) == {1: 7, 4: 8, 8: 5}[cycles]  # none stands at zero
        plt.close("all")

    def test_changes(self):
        found = substrate_playground.variations(FIRST)
        assert next(iter(found)) == "plain"
        figure = plots.changes(found)
        assert [one.get_title(loc="left") for one in figure.axes] == list(found)[1:]
        text = findings.changes(found)
        assert "goal: sleep: 1 of 24 neurons change, *sleep* most" in text
        still = substrate_playground.variations(PLAIN)
        assert findings.changes(still).count("nothing changes") == 3
        plt.close("all")

    def test_sentence(self):
        text = findings.answer(answer(FIRST), 0.5)
        assert "After 4 cycles the strongest are *house*" in text
        assert "Answer and figure took 0.5 s." in text
        assert "the same question has the same answer" in findings.answer(answer(PLAIN), 0.5)
        lonely = PLAIN._replace(words="fish", cycles=1, asked="cheese")
        assert "Nothing reached *cheese*." in findings.answer(answer(lonely), 0.5)


class TestWidgets:
    @pytest.fixture
    def parts(self):
        controls = {
            "words": widgets.Text(FIRST.words),
            "cycles": widgets.IntSlider(2, 1, 8),
            "goal": widgets.Dropdown(options=[NOTHING, "sleep"], value="sleep"),
            "held": widgets.Text(FIRST.held),
            "modulator": widgets.FloatSlider(1.0, min=0, max=3),
            "asked": widgets.Dropdown(options=["happy", "garden"], value="happy"),
        }
        shown = board(controls, draw, lambda **q: f"From {q['words']} & on.")
        grid, message, picture = shown.children
        return *grid.children, message, picture

    def test_start_with_a_picture(self, parts):
        *_, message, picture = parts
        assert picture.value.startswith('<img alt="From cloud, dog &amp; on."')
        assert re.fullmatch(r"answered in \d+\.\d s", message.value)
        assert plt.get_fignums() == []

    def test_every_change_draws(self, parts):
        *controls, _, picture = parts
        changes = ("rain", 3, NOTHING, "puddle", 0.5, "garden")
        for control, value in zip(controls, changes, strict=True):
            before = picture.value
            control.value = value
            assert picture.value != before

    def test_mistakes_are_told_and_mended(self, parts):
        *controls, message, picture = parts
        controls[0].value = "dgo"
        assert "no neuron is called" in message.value and picture.value == ""
        controls[0].value = "dog"
        assert "answered" in message.value and picture.value


def test_the_page_starts_with_the_question_of_its_figure():
    declared = notebooks.declared(paths.NOTEBOOKS / "29_substrate_playground.ipynb")
    values = [declared[name]["default"] for name in FIRST._fields]
    assert tuple(values) == FIRST
