import base64
import html
import json
import re

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from plasticity.companion import paths
from plasticity.companion.figures import plotly_script, save_figure, show, show_interactive

ALT = 'Loss falls from 6 to 3; "PNN" lies below BERT & stays there.'


def figure():
    drawn = Figure(figsize=(3, 2))
    drawn.subplots().plot([0, 1, 2], [6, 4, 3])
    return drawn


def test_writes_three_formats_and_the_text(output_root):
    written = save_figure(figure(), "pnn_loss", ALT, "smoke")
    assert [path.name for path in written] == ["pnn_loss.svg", "pnn_loss.pdf", "pnn_loss.png"]
    assert all(
        path.parent == paths.figures("smoke") == output_root / "figures/smoke" for path in written
    )
    starts = [path.read_bytes()[:8] for path in written]
    assert starts[0].startswith(b"<?xml")
    assert starts[1].startswith(b"%PDF")
    assert starts[2] == b"\x89PNG\r\n\x1a\n"
    assert json.loads((paths.figures("smoke") / "pnn_loss.json").read_text()) == {"alt": ALT}


def test_the_same_figure_gives_the_same_files():
    before = [path.read_bytes() for path in save_figure(figure(), "pnn_loss", ALT, "smoke")]
    assert [path.read_bytes() for path in save_figure(figure(), "pnn_loss", ALT, "smoke")] == before


@pytest.mark.parametrize("name", ["", "../up", "Loss", "a b", "a.svg"])
def test_odd_names_are_refused(name):
    with pytest.raises(ValueError, match="allowed: lower-case letters, digits and _"):
        save_figure(figure(), name, ALT, "smoke")


def test_a_figure_without_text_is_refused():
    with pytest.raises(ValueError, match="say in a sentence what figure pnn_loss shows"):
        save_figure(figure(), "pnn_loss", " ", "smoke")


def test_shown_as_one_image_with_its_text(monkeypatch):
    displayed = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    others = pyplot.get_fignums()
    drawn, axes = pyplot.subplots()
    axes.plot([1, 2])
    show(drawn, "pnn_loss", ALT, "smoke")
    [output] = displayed
    [(alt, source)] = re.findall(r'<img alt="([^"]*)".*src="([^"]*)"', output.data)
    assert html.unescape(alt) == ALT
    content = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"))
    assert content == (paths.figures("smoke") / "pnn_loss.svg").read_bytes()
    assert pyplot.get_fignums() == others


def test_a_figure_that_moves_is_a_page_and_needs_no_network(monkeypatch, output_root):
    go = pytest.importorskip("plotly.graph_objects")
    displayed = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    show_interactive(go.Figure(go.Bar(y=[1, 2])), "pnn_bars", ALT, "smoke")
    [output] = displayed
    assert output.data.startswith(plotly_script())
    shown = output.data.removeprefix(plotly_script())
    assert html.unescape(re.search(r'<figure aria-label="([^"]*)"', shown)[1]) == ALT
    page = (output_root / "figures/smoke/pnn_bars.html").read_text(encoding="utf-8")
    for text in (shown, page):
        assert "Plotly.newPlot" in text
        assert set(re.findall(r'src="([^"]*)"', text)) <= {"plotly.min.js"}
    assert (output_root / "figures/smoke/plotly.min.js").exists()
    with pytest.raises(ValueError, match="say in a sentence"):
        show_interactive(go.Figure(), "pnn_bars", " ", "smoke")
