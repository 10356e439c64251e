"""The playground: the shipped checkpoint, its card, answers, figures, sentences and widgets."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib import pyplot as plt
from safetensors import safe_open

from plasticity.companion import figures, notebooks, paths, profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.companion.playground import playground
from plasticity.experiments import pnn_playground, pnn_refinement
from plasticity.findings import pnn_playground as findings
from plasticity.plots import pnn_playground as plots
from plasticity.plots import pnn_sentence
from plasticity.pnn import interventions as change_by
from plasticity.pnn import questions
from plasticity.pnn.halting import ChangedArgmax, refine_until

CPU = Runtime(device="cpu", workers=1)
SENTENCE, WORD, STEPS = pnn_playground.FIRST[:3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PICTURE = ".jupyter-widgets img[alt^='What the model']"
CHANGED = """old => {
  const shown = document.querySelector(".jupyter-widgets img[alt^='What the model']");
  return shown && shown.src !== old;
}"""


@pytest.fixture(scope="module")
def shipped():
    return pnn_playground.load()


def ask(shipped, sentence=SENTENCE, word=WORD, steps=STEPS, **asked):
    return questions.answer(*shipped, sentence, word, steps, **asked)


def choices(shipped, sentence):
    found = questions.words(*shipped, sentence)
    return [(word.text, number) for number, word in enumerate(found) if word.askable]


class TestShipped:
    def test_is_small_and_complete(self):
        files = [path for path in pnn_playground.MODEL.rglob("*") if path.is_file()]
        names = {path.relative_to(pnn_playground.MODEL).as_posix() for path in files}
        model = {"model/config.json", "model/model.safetensors"}
        assert names == {*model, "tokenizer.json", "README.md"}
        assert sum(path.stat().st_size for path in files) < 2_000_000

    def test_loads_strictly(self, shipped, tmp_path):
        model, tokenizer = shipped
        assert model.config.vocab_size == tokenizer.get_vocab_size()
        with safe_open(pnn_playground.MODEL / "model/model.safetensors", "pt") as file:
            assert set(file.keys()) == set(dict(model.named_parameters()))
        shutil.copytree(pnn_playground.MODEL, tmp_path / "other")
        config = tmp_path / "other/model/config.json"
        config.write_text(re.sub(r'"hidden_size": \d+', '"hidden_size": 8', config.read_text()))
        with pytest.raises(RuntimeError, match="size mismatch"):
            pnn_playground.load(tmp_path / "other")

    def test_has_learnt_to_use_its_context(self, shipped):
        found = questions.gallery(*shipped, [s for s, _ in pnn_playground.SENTENCES], STEPS)
        right = found.groupby("step")["right"].mean()
        assert right[0] < 0.1 and right[STEPS] > 0.4

    def test_card_has_the_numbers_of_the_stored_run(self):
        text = (pnn_playground.MODEL / "README.md").read_text()
        assert f"    {pnn_playground.COMMAND}\n" in text
        assert "CDLA-Sharing-1.0" in text and "no person" in text
        study = results.load("pnn_playground", "paper")
        if study.rows.empty:
            pytest.skip("no results of profile paper are stored")
        assert text == pnn_playground.card(study)


def test_the_command_says_what_it_does():
    answer = CliRunner().invoke(pnn_playground.main, ["--help"])
    assert answer.exit_code == 0
    assert "Train the playground's model" in answer.output


class TestAnswer:
    @pytest.mark.parametrize("steps", [0, 1, 4, 12])
    def test_rows_are_whole(self, shipped, steps):
        rows = ask(shipped, steps=steps)
        model, length = shipped[0], len(questions.words(*shipped, SENTENCE))
        assert sorted(set(rows["step"])) == list(range(steps + 1))
        assert list(rows.columns) == questions.COLUMNS
        counts = rows.groupby("metric").size()
        assert counts["true_word_probability"] == steps + 1
        assert counts["state_rms"] == (steps + 1) * length
        assert counts.get("delta_rms", 0) == steps * length
        assert counts.get("gate", 0) == steps * model.config.hidden_size
        gates = rows[rows["metric"].isin(["gate", "gate_mean"])]["value"]
        assert gates.between(0, 1, inclusive="neither").all()
        chances = rows[rows["metric"] == "probability"]
        assert (chances.groupby("step")["value"].sum() <= 1 + 1e-5).all()

    def test_is_deterministic(self, shipped):
        pd.testing.assert_frame_equal(ask(shipped), ask(shipped))

    def test_agrees_with_the_model(self, shipped):
        import torch

        model, tokenizer = shipped
        ids = torch.tensor([tokenizer.encode(SENTENCE, add_special_tokens=False).ids])
        true_id = int(ids[0, WORD])
        ids[0, WORD] = tokenizer.token_to_id("[MASK]")
        with torch.no_grad():
            out = model(ids, num_steps=STEPS, output_deltas=True)
        rows = ask(shipped)
        last = rows[rows["step"] == STEPS].set_index("metric")["value"]
        chances = out.logits[0, WORD].softmax(-1)
        assert last["true_word_probability"] == pytest.approx(chances[true_id].item(), rel=1e-4)
        assert last["probability"].max() == pytest.approx(chances.max().item(), rel=1e-4)
        expected = out.deltas[-1][0].square().mean(-1).sqrt().numpy()
        np.testing.assert_allclose(last["delta_rms"], expected, rtol=1e-4)

    def test_the_hidden_word_is_not_seen(self, shipped):
        sad, happy = (
            ask(shipped, SENTENCE.replace("sad", word)).query("metric == 'gate'")["value"]
            for word in ("sad", "happy")
        )
        assert sad.tolist() == happy.tolist()

    def test_more_steps_leave_the_first_ones_as_they_were(self, shipped):
        few, many = ask(shipped, steps=4), ask(shipped, steps=12)
        gates = "metric == 'gate' and step <= 4"
        np.testing.assert_allclose(few.query(gates)["value"], many.query(gates)["value"])

    def test_a_rare_word_cannot_be_asked_for(self, shipped):
        found = questions.words(*shipped, "The xylophone's sound 🙂")
        assert [word.text for word in found] == ["The", "xylophone", "'", "s", "sound", "🙂"]
        assert [word.askable for word in found][:2] == [True, False]
        assert not found[-1].askable

    @pytest.mark.parametrize(
        ("question", "message"),
        [
            ({"sentence": "  "}, "sentence is '  '; allowed: at least one word"),
            ({"sentence": "so " * 99}, r"sentence has 99 tokens; allowed: 1 to \d+"),
            ({"word": 99}, "masked_word is 99; allowed: 0 to 9"),
            ({"word": -1}, "masked_word is -1; allowed: 0 to 9"),
            ({"steps": 13}, "num_steps is 13; allowed: 0 to 12"),
            ({"steps": -1}, "num_steps is -1; allowed: 0 to 12"),
            (
                {"sentence": "A xylophone", "word": 1},
                r"masked_word is 1 \(xylophone\), .* allowed: 0 \(A\)",
            ),
        ],
    )
    def test_errors_are_named(self, shipped, question, message):
        with pytest.raises(ValueError, match=message):
            ask(shipped, **question)

    def test_an_answer_and_its_picture_take_less_than_two_seconds(self, shipped):
        long = "the dog ran to the park " * 8
        playground(lambda s: choices(shipped, s), drawing(shipped), long, 1, 12, 12)
        started = time.process_time()  # of this process: others may be busy
        playground(lambda s: choices(shipped, s), drawing(shipped), long, 1, 12, 12)
        assert time.process_time() - started < 2


def drawing(shipped):
    def draw(sentence, word, steps, change="nothing"):
        rows = ask(
            shipped, sentence, word, steps, interventions=pnn_playground.interventions(change)
        )
        return plots.answer(rows, shipped[0].config.num_steps, findings.change(change, 0))

    return draw


class TestChanged:
    def test_what_changes_is_what_was_asked_for(self, shipped):
        plain = ask(shipped)
        for name in pnn_playground.CHANGES:
            rows = ask(shipped, interventions=pnn_playground.interventions(name))
            same = np.allclose(rows.query("metric == 'state_rms'")["value"], sizes(plain))
            assert same == (name == "nothing"), name
            gates = rows.query("metric == 'gate'")["value"]
            assert (set(gates) == {0.5}) == (name == "gate at one half")
            assert (set(gates) == {1.0}) == (name == "gate open")

    def test_a_change_at_one_step_leaves_the_steps_before_it(self, shipped):
        changed = pnn_playground.interventions("attention off", 3)
        of_states = "metric in ['state_rms', 'true_word_probability']"
        rows, plain = (
            ask(shipped, **one).query(of_states) for one in ({"interventions": changed}, {})
        )
        moved = rows["value"].to_numpy() != plain["value"].to_numpy()
        assert set(rows["step"][moved]) == {3, 4}

    def test_a_halved_update_is_half_and_its_gate_is_shown_as_it_was(self, shipped):
        plain, rows = (
            ask(shipped, steps=1, interventions=pnn_playground.interventions(name))
            for name in ("nothing", "update halved")
        )
        sizes_of = "metric == 'delta_rms'"
        np.testing.assert_allclose(
            2 * rows.query(sizes_of)["value"], plain.query(sizes_of)["value"], rtol=1e-5
        )
        gates = "metric == 'gate'"
        assert rows.query(gates)["value"].tolist() == plain.query(gates)["value"].tolist()

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="change is 'gate'; allowed: 'nothing'"):
            pnn_playground.interventions("gate")
        with pytest.raises(ValueError, match="at is 13; allowed: 0 to 12"):
            pnn_playground.interventions("gate open", 13)
        with pytest.raises(ValueError, match="rule is 'soon'; allowed: 'never'"):
            pnn_playground.stopping_rule("soon")

    @pytest.mark.parametrize("name", pnn_playground.RULES[1:])
    @pytest.mark.parametrize("change", ["nothing", "gate inverted"])
    def test_the_rule_stops_where_inference_does(self, shipped, name, change):
        import torch

        model, tokenizer = shipped
        rule, changed = pnn_playground.stopping_rule(name), pnn_playground.interventions(change)
        rows = ask(shipped, steps=12, interventions=changed, rule=rule)
        ids = torch.tensor([tokenizer.encode(SENTENCE, add_special_tokens=False).ids])
        hidden = torch.arange(ids.shape[1])[None] == WORD
        ids[hidden] = tokenizer.token_to_id("[MASK]")
        with change_by.intervene(model, *changed):
            halted = refine_until(model, ids, hidden, rule, max_steps=12)
        enough = rows[rows["metric"] == "enough"]["step"]
        assert [*enough, 12][0] == int(halted.steps)
        assert len(rows[rows["metric"] == "unrest"]) == 12

    def test_a_stop_is_drawn_and_told(self, shipped):
        rows = ask(shipped, steps=8, rule=ChangedArgmax(0.0))
        [step] = rows.loc[rows["metric"] == "enough", "step"]
        assert f"would stop after step {step} with *sad*, as after step 8" in findings.path(rows)
        figure = plots.answer(rows, 4, "gate inverted")
        assert figure.get_suptitle().endswith("toy.”, gate inverted")
        assert [*figure.axes[1].lines[-1].get_xdata()] == [step, step]
        plt.close("all")

    def test_tables_of_changes_and_rules(self, shipped):
        asked = {
            name: {"sad": ask(shipped, interventions=pnn_playground.interventions(name))}
            for name in ("nothing", "attention off")
        }
        table = findings.changes(asked, 4)
        assert table.loc["nothing", "hidden: sad"].startswith("sad (")
        text = findings.guessed(asked, 4)
        assert text.startswith("Left as it is, the model guesses **1** of these 1 words")
        assert text.endswith("0 with attention off.")
        rules = {
            name: {"sad": ask(shipped, rule=rule)}
            for name, rule in (("same", ChangedArgmax(0.0)), ("never", ChangedArgmax(-1.0)))
        }
        table = findings.halting(rules)["hidden: sad"]
        assert table["same"].startswith("step 3: sad (")
        assert table["never"].startswith("not in 4 steps: sad (")


def sizes(rows):
    return rows.query("metric == 'state_rms'")["value"]


class TestUnfolded:
    def test_agrees_with_one_answer(self, shipped):
        rows, found = ask(shipped), questions.unfold(*shipped, SENTENCE, [WORD], STEPS)
        assert found.hidden.tolist() == [place == WORD for place in range(len(found.tokens))]
        for step in range(STEPS + 1):
            own = rows[(rows["metric"] == "probability") & (rows["step"] == step)]
            own = own.nlargest(questions.CANDIDATES, "value")
            assert own["label"].tolist() == found.words[step, :, WORD].tolist()
            np.testing.assert_allclose(own["value"], found.chances[step, :, WORD], rtol=1e-5)
        deltas = rows[rows["metric"] == "delta_rms"].pivot(
            index="step", columns="index", values="value"
        )
        np.testing.assert_allclose(deltas, found.sizes, rtol=1e-5)
        gates = rows[rows["metric"] == "gate"].pivot(index="step", columns="index", values="value")
        np.testing.assert_allclose(gates, found.gates[:, WORD], rtol=1e-5)

    def test_hidden_words_are_not_seen(self, shipped):
        one, other = (
            questions.unfold(*shipped, SENTENCE.replace("toy", word), [2, 8], 2)
            for word in ("toy", "ball")
        )
        assert (one.chances == other.chances).all()
        assert one.tokens != other.tokens

    def test_figure_has_a_frame_for_every_step(self, shipped):
        found = questions.unfold(*shipped, SENTENCE, [2, 8], 6)
        figure = pnn_sentence.steps(found, trained_steps=4)
        names = [frame.name for frame in figure.frames]
        assert names == ["0", "1", "2", "3", "4", "5*", "6*"]
        assert [step.label for step in figure.layout.sliders[0].steps] == names
        words, sizes, gates = figure.frames[3].data
        assert (np.array(words.text) == found.words[3]).all()
        np.testing.assert_allclose(sizes.y, found.sizes[2], atol=1e-3)
        assert sorted(np.round(np.array(gates.z)[:, 0], 3)) == sorted(
            np.round(found.gates[2, 0], 3)
        )
        assert np.isnan(np.array(figure.frames[0].data[2].z)).all()
        with pytest.raises(ValueError, match="0 steps"):
            pnn_sentence.steps(questions.unfold(*shipped, SENTENCE, [2], 0), 4)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not on PATH")
def test_the_slider_moves_without_a_network(shipped, tmp_path, monkeypatch):
    from playwright.sync_api import sync_playwright

    monkeypatch.setenv("PLASTICITY_OUTPUT", str(tmp_path))
    displayed = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    found = questions.unfold(*shipped, SENTENCE, [2, 8], 6)
    figures.show_interactive(pnn_sentence.steps(found, 4), "steps", "Steps.", "smoke")
    (tmp_path / "page.html").write_text(displayed[0].data, encoding="utf-8")
    shown = "document.getElementById('steps')"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.context.set_offline(True)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.locator(".slider-rail-touch-rect").wait_for()
        assert page.evaluate(f"{shown}.layout.sliders[0].active") == 4
        page.locator(".slider-rail-touch-rect").scroll_into_view_if_needed()
        rail = page.locator(".slider-rail-touch-rect").bounding_box()
        page.mouse.move(rail["x"] + 0.17 * rail["width"], rail["y"] + rail["height"] / 2)
        page.mouse.down()
        page.wait_for_function(f"{shown}.layout.sliders[0].active === 1")
        page.mouse.up()
        page.wait_for_function(f"{shown}.data[0].text[0][2] === '{found.words[1, 0, 2]}'")
        assert page.locator("figure[aria-label='Steps.']").count() == 1
        assert errors == []
        browser.close()


class TestShown:
    @pytest.mark.parametrize(("steps", "panels"), [(0, 2), (4, 6), (12, 6)])
    def test_figure(self, shipped, steps, panels):
        figure = plots.answer(ask(shipped, steps=steps), 4)
        assert len(figure.axes) == panels
        assert figure.get_suptitle() == "“lily was [MASK] because she lost her favorite toy.”"
        guesses = figure.axes[0]
        assert "sad" in [label.get_text() for label in guesses.get_yticklabels()]
        assert ("trained for 4" in figure.axes[1].get_xlabel()) == (steps > 4)
        plt.close("all")

    def test_figure_of_many_words(self, shipped):
        found = questions.gallery(*shipped, [SENTENCE], 5)
        right, chance = plots.gallery(found, 4).axes
        assert right.lines[0].get_ydata()[-1] == 100 * found.query("step == 5")["right"].mean()
        assert len(chance.lines) == 9 + 2  # words, their mean, the dashed line
        plt.close("all")

    def test_sentences_follow_the_rows(self):
        def rows(chances):
            return pd.DataFrame(
                [
                    (step, metric, index, label, value)
                    for step, (cat, dog) in enumerate(chances)
                    for metric, index, label, value in (
                        ("probability", 7, "cat", cat),
                        ("probability", 8, "dog", dog),
                        ("true_word_probability", 8, "dog", dog),
                    )
                ],
                columns=questions.COLUMNS,
            )

        text = findings.path(rows([(0.5, 0.1), (0.3, 0.4)]))
        assert text.startswith("The likeliest word is *cat* from step 0, *dog* from step 1: right.")
        assert "*dog* goes from 10.0 % to 40.0 % in 1 steps." in text
        assert "not the hidden word" in findings.path(rows([(0.5, 0.1), (0.5, 0.4)]))

    def test_more_steps_are_counted(self):
        words = [("aab", (0, 1, 0)), ("xyz", (0, 0, 1)), ("ppp", (1, 1, 1))]
        found = pd.concat(
            pd.DataFrame({"step": [0, 1, 2], "guess": list(guess), "right": np.array(right, bool)})
            for guess, right in words
        ).assign(true_word_probability=[0.1, 0.2, 0.3] * 3)
        text = findings.more_steps(found, trained_steps=1)
        assert text.startswith(
            "Of 3 words hidden in turn, 1 are guessed from the embeddings, **2**"
        )
        assert "**2** after 2" in text and "0.10 → 0.20 → 0.30" in text
        assert "2 guesses change: right ones gained 1, right ones lost 1." in text

    def test_guesses_are_set_out_by_sentence(self, shipped):
        found = questions.gallery(*shipped, [SENTENCE], 2)
        table = findings.guesses(found, {SENTENCE: "sad"})
        assert list(table.columns) == ["step 0", "step 1", "step 2"]
        assert list(table.index) == ["Lily was [sad] because she lost her favorite toy."]

    def test_model_without_results(self):
        assert "no results are stored" in findings.model(pd.DataFrame())


class TestWidgets:
    @pytest.fixture
    def parts(self, shipped):
        box = playground(
            lambda s: choices(shipped, s), drawing(shipped), SENTENCE, WORD, STEPS, most_steps=12
        )
        return box.children

    def test_start_with_a_picture(self, parts):
        text, hidden, slider, message, picture = parts
        assert (text.value, hidden.label, slider.value) == (SENTENCE, "sad", STEPS)
        assert picture.value.startswith('<img alt="What the model makes of the hidden word sad')
        assert re.fullmatch(r"answered in \d+\.\d s", message.value)

    def test_every_change_draws_once(self, parts):
        text, hidden, slider, _, picture = parts
        seen = [picture.value]
        picture.observe(lambda change: seen.append(change.new), "value")
        slider.value = 6
        hidden.value = 8
        assert "hidden word toy" in picture.value
        text.value = "The dog was happy because he found a ball in the park."
        assert hidden.value == 8 and hidden.label == "ball"
        text.value = "The dog ran."
        assert (hidden.label, len(hidden.options)) == ("The", 4)
        assert len(seen) == len(set(seen)) == 5

    def test_mistakes_are_told_and_mended(self, parts):
        text, hidden, _, message, picture = parts
        text.value = ""
        assert "at least one word" in message.value
        assert picture.value == "" and hidden.layout.display == "none"
        text.value = "🙂"
        assert "none of this sentence" in message.value
        text.value = SENTENCE
        assert picture.value and hidden.layout.display is None

    def test_a_menu_changes_the_picture(self, shipped):
        menus = {"change": ["nothing", "gate inverted"]}
        box = playground(
            lambda s: choices(shipped, s), drawing(shipped), SENTENCE, WORD, 4, 12, menus
        )
        *_, menu, _, picture = box.children
        before = picture.value
        menu.value = "gate inverted"
        assert menu.description == "Change" and picture.value != before

    def test_no_figure_is_left_open(self, parts):
        assert plt.get_fignums() == []


@pytest.mark.slow
def test_release_writes_what_can_be_loaded(tmp_path, monkeypatch):
    """Run the experiment at the smoke profile's size, and release it elsewhere."""
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    arm = next(c for c in profiles.configs("pnn_refinement", "smoke") if c.variant == "pnn")
    config = pnn_playground.Config.from_dict(arm.to_dict())
    study = results.run("pnn_playground", [config], [0], profile="paper", runtime=CPU)
    pnn_playground.release(study, tmp_path / "model")
    model, tokenizer = pnn_playground.load(tmp_path / "model")
    assert model.config.hidden_size == config.hidden_size
    assert len(questions.answer(model, tokenizer, "a dog", 0, 2))
    card = (tmp_path / "model/README.md").read_text()
    value = study.rows.set_index(["metric", "split", "step"])["value"]
    assert f"| test | {value['accuracy', 'test', 0]:.1f} %" in card
    assert f"| learning_rate | {config.learning_rate} |" in card
    assert "machine-written" in card
    assert f"{value['accuracy', 'test', 0]:.1f} %" in findings.model(study.rows)
    assert value["answer_seconds", "playground", questions.MOST_STEPS] < 2
    size = (tmp_path / "model/model/model.safetensors").stat().st_size
    assert value["bytes", "playground", 0] == size


def test_only_a_pnn_can_be_shipped():
    with pytest.raises(ValueError, match="architecture is 'bert'; allowed: 'pnn'"):
        pnn_playground.Config(architecture="bert")
    [config] = profiles.configs("pnn_playground", "paper")
    assert issubclass(pnn_playground.Config, pnn_refinement.Config)
    assert config.corpus == "stories"


def test_the_page_starts_with_the_question_of_its_figure():
    declared = notebooks.declared(paths.NOTEBOOKS / "39_pnn_playground.ipynb")
    names = ("sentence", "word", "steps", "change", "at", "rule")
    values = tuple(declared[name]["default"] for name in names)
    assert values == pnn_playground.FIRST


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Serve a copy of the notebook in JupyterLab, with the cells that its widgets need."""
    notebook = nbformat.read(paths.NOTEBOOKS / "39_pnn_playground.ipynb", as_version=4)
    needed = r"profile =|from IPython|study =|def choices"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [cell for cell in code if re.search(needed, cell.source, re.M)]
    (tmp_path / "shown").mkdir()
    nbformat.write(notebook, tmp_path / "shown/page.ipynb")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    options += ["--IdentityProvider.token=t", f"--ServerApp.root_dir={tmp_path / 'shown'}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=log)
        try:
            yield address(tmp_path / "log")
        finally:
            server.terminate()
            server.wait(30)


def address(log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not on PATH")
def test_widgets_react_in_jupyterlab(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        page.set_default_timeout(300_000)  # a busy machine takes long to import torch
        page.goto(f"{lab}lab/tree/page.ipynb?token=t")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # else Lab asks for a kernel
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        picture = page.locator(PICTURE)

        def changes(act):
            before = picture.get_attribute("src")
            act()
            page.wait_for_function(CHANGED, arg=before)

        text = page.locator(".widget-text input")
        text.wait_for()
        text.fill("The dog ran to the park.")
        changes(lambda: text.press("Enter"))
        changes(lambda: page.locator(".widget-toggle-button", has_text="park").click())
        assert "park" in picture.get_attribute("alt")
        changes(lambda: page.locator(".widget-slider .noUi-handle").press("ArrowRight"))
        text.fill(" ")
        text.press("Enter")
        page.get_by_text("allowed: at least one word").wait_for()
        assert picture.count() == 0
        assert not page.locator(".widget-toggle-button").first.is_visible()
        browser.close()
