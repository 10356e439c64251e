"""The playground: what is taught is learnt by newborns, and the base comes back."""

import ipywidgets as widgets
import pytest
import torch
from matplotlib import pyplot as plt

from plasticity.companion import notebooks, paths
from plasticity.companion.configuration import Runtime
from plasticity.companion.playground import board
from plasticity.experiments import foam_playground as experiment
from plasticity.findings import foam_playground as findings
from plasticity.foam.mechanics import portraits
from plasticity.plots import foam_playground as plots

SHORT = experiment.FIRST._replace(newborns=2, steps=4)


@pytest.fixture(scope="module")
def found():
    return experiment.answer(SHORT)


def drawn(**question):
    found = experiment.answer(experiment.Question(**question))
    tables = found.pressure, found.curve, found.events, found.excited, found.written
    return plots.answer(*tables, found.question.asked, found.replies, found.same_bits, "0")


def test_newborns_are_made_from_neurons_under_pressure(found):
    assert found.events == [0, 2]
    assert len(found.born) <= 2 * 2 * 3
    assert sorted(found.born["event"].unique()) == [0, 1]
    first = found.born[found.born["event"] == 0]
    assert found.pressure["source"].sum() == len(first[["layer", "source"]].drop_duplicates())
    ranks = found.pressure["pressure"].rank(pct=True)
    assert ranks[found.pressure["source"]].min() > 0.8


def test_switched_off_it_is_the_base(found):
    assert found.same_bits
    assert found.replies["switched off"] == found.replies["base"]
    base = experiment.load()[0].model
    model = experiment.taught(SHORT.lesson, "", SHORT.newborns, SHORT.events, SHORT.steps)[0]
    assert all(
        torch.equal(p, q)
        for p, q in zip(base.parameters(), model.base_model.parameters(), strict=True)
    )


def test_own_words_are_learnt():
    question = SHORT._replace(lesson="own words", steps=30, newborns=8)
    curve = experiment.answer(question).curve
    assert curve["lesson"].iloc[-1] < 0.7 * curve["lesson"].iloc[0]
    assert curve["step"].iloc[-1] == 30


def test_portraits_are_of_the_newborn_itself(found):
    model = experiment.taught(SHORT.lesson, "", SHORT.newborns, SHORT.events, SHORT.steps)[0]
    layer, slot = (int(found.born.loc[1, name]) for name in ("layer", "slot"))
    batch = experiment._batches(SHORT.lesson, "")[1]
    values = portraits.excites(model, layer, slot, batch)
    assert values.shape == batch["input_ids"].shape
    with torch.no_grad():
        model.layers[layer].cohorts[0].up.mul_(2.0)
        doubled = portraits.excites(model, layer, slot, batch)
        model.layers[layer].cohorts[0].up.mul_(0.5)
    assert not torch.allclose(values, doubled) or slot >= model.layers[layer].cohorts[0].width
    written = portraits.writes(model, layer, slot)
    assert written.shape == (len(experiment.load()[0].tokenizer),)
    assert len(found.excited) == 6 and len(found.written) == 12
    assert found.written["value"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lesson": "chess"}, "lesson is 'chess'; allowed: 'identity'"),
        ({"newborns": 99}, "newborns is 99; allowed: 1 to 24"),
        ({"steps": 0}, "steps is 0; allowed: 1 to 60"),
        ({"events": 4}, "events is 4"),
        ({"asked": " "}, "asked is ' '; allowed: at least one word"),
        ({"lesson": "own words", "words": ""}, "words is ''; allowed: at least one word"),
        ({"asked": "word " * 200}, "asked has .* tokens; allowed: at most 128"),
        ({"newborn": 500}, "newborn is 500; allowed: 0 to"),
    ],
)
def test_questions_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        experiment.answer(SHORT._replace(**change))


def test_widgets_answer_and_say_what_is_wrong(found):
    values = SHORT._asdict()
    controls = {
        name: widgets.Text(value) if isinstance(value, str) else widgets.IntText(value)
        for name, value in values.items()
    }
    box = board(controls, drawn, lambda **question: question["lesson"])
    message, picture = box.children[1:]
    assert picture.value.startswith("<img") and "answered in" in message.value
    controls["newborn"].value = 999
    assert picture.value == "" and "allowed: 0 to" in message.value
    controls["newborn"].value = 1
    assert picture.value.startswith("<img")


def test_the_page_starts_with_the_question_of_its_figure():
    declared = notebooks.declared(paths.NOTEBOOKS / "19_foam_playground.ipynb")
    values = {name: declared[name]["default"] for name in experiment.Question._fields}
    assert experiment.Question(**values) == experiment.FIRST


def test_sentences_follow_the_answer(found):
    assert "is the base again, bit for bit" in findings.answer(found)
    assert "is **not** the base" in findings.answer(found._replace(same_bits=False))
    rows = experiment.run(experiment.Config(repeats=1), 0, None, Runtime())
    assert rows.set_index("metric")["value"]["same_bits"] == 1
    said = findings.base(rows)
    assert ("shipped one" in said) == experiment.load()[1]
    slow = rows.assign(value=rows["value"].where(rows["metric"] != "answer_seconds", 9.0))
    assert "beyond the goal" in findings.base(slow)


def test_the_figure_has_all_of_the_answer():
    figure = drawn(**SHORT._asdict())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 5 and all(titles)
    plt.close(figure)
