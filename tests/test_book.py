import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import fabricated
import nbformat
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from plasticity.companion import claims, figures, paths, results
from plasticity.companion.book import (
    BuildFailed,
    NotExecuted,
    chapters,
    checks,
    rendering,
    stage,
    staging,
)
from plasticity.companion.book import __main__ as command
from plasticity.companion.book.numbers import NOT_MEASURED, Numbers

NAMES = ("01_data", "12_foam_growth", "20_mnist", "30_pnn_model", "31_pnn_refinement")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FORMULAS = r"""() => {
  const article = document.querySelector(".bd-article") || document.body;
  const raw = [];
  const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode;
    const held = text.parentElement.closest("pre, code, script, style, mjx-container");
    if (!held && /\\\(|\\\[|\$\$/.test(text.data)) raw.push(text.data);
  }
  for (const formula of article.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container")) raw.push(formula.textContent);
  return raw;
}"""


def stored(experiment, profile, size="small"):
    """Stand in for the results store: three seeds of two arms, and no full study."""
    columns = ["metric", "variant", "split", "step", "seed", "value", "unit"]
    if profile == "paper":
        return results.Study(pd.DataFrame(columns=columns), [])
    rows = [
        ("accuracy", arm, "test", 0, seed, value + seed / 10, "percent")
        for arm, value in (("pnn", 27.0), ("bert", 25.0))
        for seed in range(3)
    ]
    rows.append(("source_relative_performance", "as_released", "source", 0, 0, 83.158, "percent"))
    return results.Study(pd.DataFrame(rows, columns=columns), [])


def fabricate(monkeypatch, output: Path, profile: str) -> None:
    """Point the book at made-up notebooks, executed, and at made-up results."""
    monkeypatch.setenv("PLASTICITY_OUTPUT", str(output))
    monkeypatch.setattr(paths, "NOTEBOOKS", output / "notebooks")
    monkeypatch.setattr(results, "load", stored)
    monkeypatch.setattr(staging, "_repository", lambda: "https://github.com/owner/name")
    entries = output / "source_figures"
    shutil.copytree(paths.BOOK, entries)
    text = {
        "Plastic Neural Networks": [
            {"source": "Figure 1", "shows": "Losses.", "notebook": NAMES[4], "figures": ["losses"]},
            {"source": "Figure 2", "shows": "Gates."},
        ]
    }
    (entries / "source_figures.yaml").write_text(yaml.safe_dump(text))
    monkeypatch.setattr(paths, "BOOK", entries)
    fabricated.figure_files(paths.figures(profile), "losses")
    for name in NAMES:
        page = (
            fabricated.unavailable(name)
            if name == "20_mnist"
            else fabricated.notebook(name, profile)
        )
        fabricated.write(paths.NOTEBOOKS, name, fabricated.notebook(name, profile))
        fabricated.write(paths.executed_notebooks(profile), name, page)


@pytest.fixture
def laptop(monkeypatch, output_root):
    fabricate(monkeypatch, output_root, "laptop")
    return output_root


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """The rendered book of fabricated notebooks, built once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        fabricate(monkeypatch, tmp_path_factory.mktemp("book"), "laptop")
        return rendering.build("laptop").parent


@pytest.mark.slow
class TestRendered:
    """The rendered book; that it exists means that it was built without a warning."""

    def test_chapter_says_how_it_was_made_and_how_to_make_it_again(self, html):
        shown = re.sub("<.*?>", "", (html / "notebooks/31_pnn_refinement.html").read_text())
        for text in (
            "How this page was made",
            "ran in 12 s",
            "not human text",
            "plasticity run 31_pnn_refinement --profile laptop -p seeds 5",
            "papermill notebooks/31_pnn_refinement.ipynb 31_pnn_refinement.ipynb -p profile laptop",
        ):
            assert text in shown

    def test_chapter_can_be_downloaded_and_opened_elsewhere(self, html):
        page = (html / "notebooks/31_pnn_refinement.html").read_text()
        name = "notebooks/31_pnn_refinement.ipynb"
        for link in (
            f"../_sources/{name}",
            f"https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/{name}",
            f"https://colab.research.google.com/github/owner/name/blob/main/{name}",
        ):
            assert f'href="{link}"' in page

    def test_messages_and_progress_bars_are_gone(self, html):
        page = (html / "notebooks/31_pnn_refinement.html").read_text()
        assert "UserWarning" not in page and "50%|" not in page
        assert "kept" in page

    def test_long_inputs_start_folded(self, html):
        assert "Show code cell source" in (html / "notebooks/31_pnn_refinement.html").read_text()

    def test_unavailable_data_is_a_page(self, html):
        assert "not run: data" in (html / "notebooks/20_mnist.html").read_text()

    def test_numbers_come_from_the_store(self, html):
        page = (html / "index.html").read_text()
        assert "27.1\xa0% [26.9, 27.3] (3 seeds)" in page
        assert "83.2\xa0%" in page
        assert "not measured yet" in page  # the parameters, of which the store has none

    def test_ledger_has_a_row_for_each_claim(self, html):
        page = (html / "ledger.html").read_text()
        anchors = [claim.id.replace(".", "-") for claim in claims.load()]
        assert all(f'<tr id="{anchor}"' in page for anchor in anchors)

    def test_figures_are_shown_with_their_files(self, html):
        page = (html / "figures.html").read_text()
        assert 'alt="Two falling lines."' in page and "losses.pdf" in page and "not yet" in page

    def test_api_reference_documents_the_library(self, html):
        assert "plasticity.companion.statistics.mean_interval" in (
            (html / "api/companion.html").read_text()
        )

    def test_no_folder_of_this_machine_is_published(self, html):
        for file in (*html.rglob("*.html"), *html.rglob("*.ipynb")):
            assert "/somewhere/private" not in file.read_text()

    def test_checks_pass(self, html):
        assert checks.problems(html) == []


class TestStage:
    def test_contents_follow_the_numbers(self, laptop):
        contents = yaml.safe_load((stage("laptop") / "_toc.yml").read_text())
        parts = {part["caption"]: part["chapters"] for part in contents["parts"]}
        assert list(parts)[:4] == ["Data", "Neural Foam", "Neuron-graph", "Plastic Neural Networks"]
        assert parts["Neural Foam"] == [{"file": "notebooks/12_foam_growth"}]

    def test_it_is_deterministic(self, laptop):
        def content():
            folder = stage("laptop")
            return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

        assert content() == content()

    def test_smoke_is_never_shown_as_a_result(self, monkeypatch, output_root):
        fabricate(monkeypatch, output_root, "smoke")
        folder = stage("smoke")
        assert "27.1" not in (folder / "index.md").read_text()
        assert chapters.SMOKE in (folder / "_config.yml").read_text()
        page = nbformat.read(folder / "notebooks/31_pnn_refinement.ipynb", 4)
        assert chapters.SMOKE[1:] in page.cells[0].source

    def test_notebook_that_was_not_executed(self, laptop):
        (paths.executed_notebooks("laptop") / "30_pnn_model.ipynb").unlink()
        with pytest.raises(NotExecuted, match="plasticity run 30_pnn_model --profile laptop"):
            stage("laptop")

    def test_notebook_that_failed(self, laptop):
        failed = fabricated.notebook("30_pnn_model", "laptop")
        failed.cells[-1].outputs = [
            nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])
        ]
        fabricated.write(paths.executed_notebooks("laptop"), "30_pnn_model", failed)
        with pytest.raises(NotExecuted, match="30_pnn_model stopped with KeyError"):
            stage("laptop")

    @pytest.mark.parametrize(
        "output",
        [
            fabricated.output("image/png", "iVBORw0KGgo="),
            fabricated.output("text/html", '<img src="data:,">'),
            fabricated.output("text/html", '<img alt="" src="data:,">'),
        ],
    )
    def test_picture_without_alternative_text(self, laptop, output):
        bare = fabricated.notebook("30_pnn_model", "laptop")
        bare.cells[-1].outputs = [output]
        fabricated.write(paths.executed_notebooks("laptop"), "30_pnn_model", bare)
        with pytest.raises(ValueError, match="30_pnn_model, cell 7: a picture without"):
            stage("laptop")

    def test_figures_that_move_share_one_script(self, laptop):
        moving = fabricated.notebook("30_pnn_model", "laptop")
        drawn = figures.plotly_script() + '<div id="f"></div><script>Plotly.newPlot("f")</script>'
        moving.cells[-1].outputs = [fabricated.output("text/html", drawn)]
        assert list((stage("laptop") / "scripts").iterdir()) == []
        fabricated.write(paths.executed_notebooks("laptop"), "30_pnn_model", moving)
        folder = stage("laptop")
        assert (folder / "scripts/plotly.min.js").read_text(encoding="utf-8")[:9] == "/**\n* plo"
        page = nbformat.read(folder / "notebooks/30_pnn_model.ipynb", as_version=4)
        [shown] = [o for cell in page.cells for o in cell.get("outputs", []) if "newPlot" in str(o)]
        assert shown.data["text/html"].startswith('<script src="../plotly.min.js"></script><div')

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"notebook": "99_nothing"}, "no notebook '99_nothing'"),
            ({"notebook": NAMES[4], "figures": ["missing"]}, "did not draw missing.svg"),
        ],
    )
    def test_figure_that_does_not_exist(self, laptop, entry, message):
        text = {"A system": [{"source": "Figure 1", "shows": "It.", **entry}]}
        (paths.BOOK / "source_figures.yaml").write_text(yaml.safe_dump(text))
        with pytest.raises(ValueError, match=message):
            stage("laptop")


def test_figures_of_the_sources_name_notebooks_that_exist():
    known = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    entries = yaml.safe_load((paths.BOOK / "source_figures.yaml").read_text())
    named = {
        entry["notebook"] for system in entries.values() for entry in system if "notebook" in entry
    }
    assert named <= known


class TestNumbers:
    def test_refuses_profiles_that_are_not_results(self, monkeypatch):
        monkeypatch.setattr(results, "load", stored)
        for profile in ("smoke", "custom"):
            assert Numbers(profile).metric("pnn_refinement", "accuracy") == NOT_MEASURED

    def test_asks_for_the_arm_where_there_are_several(self, monkeypatch):
        monkeypatch.setattr(results, "load", stored)
        with pytest.raises(ValueError, match="give variant= one of bert, pnn"):
            Numbers("laptop").metric("pnn_refinement", "accuracy")

    def test_an_arm_that_a_profile_leaves_out_is_no_gap(self, monkeypatch):
        monkeypatch.setattr(results, "load", stored)
        left_out = Numbers("laptop").metric("pnn_refinement", "accuracy", variant="bert_stepwise")
        assert left_out == "—"
        with pytest.raises(ValueError, match="variant is 'brt'; no profile has it for pnn_ref"):
            Numbers("smoke").metric("pnn_refinement", "accuracy", variant="brt")

    def test_says_which_data_the_numbers_come_from(self, monkeypatch):
        data = [{"name": "stories", "source": "sample", "note": "Machine-written.", "sha256": "1"}]
        study = results.Study(stored("pnn_refinement", "laptop").rows, [{"datasets": data}])
        monkeypatch.setattr(results, "load", lambda experiment, profile: study)
        expected = "**Data** stories (from: sample). Note: Machine-written."
        assert Numbers("laptop").data("pnn_refinement") == expected
        assert Numbers("smoke").data("pnn_refinement") == ""

    def test_unknown_metric(self):
        with pytest.raises(ValueError, match="unknown metric 'acuracy'"):
            Numbers("laptop").metric("pnn_refinement", "acuracy")


class TestBuild:
    def test_broken_reference_fails(self, tmp_path):
        for name, text in {
            "_config.yml": "title: t\nexecute: {execute_notebooks: 'off'}\n",
            "_toc.yml": "format: jb-book\nroot: index\n",
            "index.md": "# A page\n\nSee [](#nowhere) and {cite}`nobody`.\n",
        }.items():
            (tmp_path / name).write_text(text)
        with pytest.raises(BuildFailed, match="nowhere"):
            rendering._render(tmp_path, tmp_path / "out", tmp_path / "log")

    def test_last_book_survives_a_failure(self, laptop, monkeypatch):
        index = paths.book_html() / "index.html"
        index.parent.mkdir(parents=True)
        index.write_text("the last book")

        def fail(*_):
            raise BuildFailed("no")

        monkeypatch.setattr(rendering, "_render", fail)
        with pytest.raises(BuildFailed):
            rendering.build("laptop")
        assert index.read_text() == "the last book"

    def test_checks_find_what_is_wrong(self, tmp_path):
        (tmp_path / "index.html").write_text(
            '<script src="https://cdn.example/x.js"></script><img src="a.png" alt="a.png">'
            '<link rel="stylesheet" href="//fonts.example/a.css"><a href="gone.html">x</a>'
            '<a href="#gone">x</a><a href="https://example.org">fine</a><i id="here"></i>'
            '<a href="#here">fine</a><img src="b.png" alt="A line."><img src="c.png">'
        )
        found = "\n".join(checks.problems(tmp_path))
        assert found.count("\n") == 5
        for part in ("cdn.example", "fonts.example", "a.png", "c.png", "gone.html", "#gone"):
            assert part in found


def test_command_line_names_what_is_missing(output_root):
    runner = CliRunner()
    answer = runner.invoke(command.main, ["where"])
    assert answer.exit_code == 1 and "run: make book" in answer.output
    answer = runner.invoke(command.main, ["stage", "--profile", "lapdog"])
    assert answer.exit_code == 2 and "laptop" in answer.output


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("chromium is not on PATH: the browser tests did not run")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="session")
def site(browser, request):
    """Serve a book: the one under PLASTICITY_TEST_BOOK, else that of fabricated notebooks."""
    named = os.environ.get("PLASTICITY_TEST_BOOK")
    folder = Path(named) / "book/_build/html" if named else request.getfixturevalue("html")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()


def watch(page, address: str) -> list[str]:
    """Return a list that fills with everything that goes wrong on a page."""
    seen = []
    page.on("console", lambda m: seen.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("requestfailed", lambda request: seen.append(f"failed: {request.url}"))
    page.on("response", lambda r: seen.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    local = (address, "data:", "blob:")
    page.on(
        "request", lambda r: None if r.url.startswith(local) else seen.append(f"outside: {r.url}")
    )
    return seen


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_reads_well(browser, site, width):
    address, folder = site
    wrong = []
    for file in sorted(folder.rglob("*.html")):
        name = file.relative_to(folder).as_posix()
        if name.startswith("_static/"):
            continue
        page = browser.new_page(viewport={"width": width, "height": 900})
        seen = watch(page, address)
        page.goto(address + name, wait_until="load")
        page.wait_for_function("() => !window.MathJax?.startup || window.MathJax.startup.promise")
        seen += [f"formula: {text}" for text in page.evaluate(FORMULAS)]
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            seen.append(f"{wide} px wide on a screen of {width}")
        bare = "[...document.images].filter((i) => !i.alt.trim()).map((i) => i.src.slice(0, 60))"
        seen += [f"no alternative text: {src}" for src in page.evaluate(bare)]
        wrong += [f"{name}: {text}" for text in seen]
        page.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_ledger_can_be_filtered(browser, site, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(site[0] + "ledger.html")
    total = page.locator(".ledger tbody tr:visible").count()
    assert total == len(claims.load())
    page.select_option("select[name=system]", "neural-foam")
    foam = page.locator(".ledger tbody tr:visible").count()
    assert 0 < foam < total
    page.fill("input[name=text]", "ARC-Easy")
    assert 0 < page.locator(".ledger tbody tr:visible").count() < foam
    page.fill("input[name=text]", "no such words")
    assert page.locator(".ledger tbody tr:visible").count() == 0
    assert page.locator(".ledger-filters output").inner_text().startswith("0 of")
    page.close()
