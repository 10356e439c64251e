"""Playgrounds in a notebook: widgets that ask, and a picture that answers."""

import base64
import html
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import VBox, Widget
    from matplotlib.figure import Figure


def playground(
    words: Callable[[str], Sequence[tuple[str, int]]],
    draw: Callable[..., "Figure"],
    sentence: str,
    word: int,
    steps: int,
    most_steps: int,
    menus: Mapping[str, Sequence] | None = None,
) -> "VBox":
    """Return widgets that draw again whenever the question changes.

    Parameters
    ----------
    words : callable
        From a sentence to its words that can be hidden, each with its number.
    draw : callable
        From a sentence, the number of its hidden word, the steps, and what is chosen of each menu
        (by name) to a Figure.
    sentence : str
        The sentence at first.
    word : int
        Number of the word hidden at first; kept when the sentence changes, where it can be hidden.
    steps, most_steps : int
        Steps at first, and the most that can be asked for.
    menus : mapping of str to sequence, optional
        Further choices, texts or pairs of text and value; the first of each at first.

    Returns
    -------
    ipywidgets.VBox
        Text, ToggleButtons, IntSlider, a Dropdown for each menu, a line for messages and the
        picture. A ValueError of
        `draw` becomes a message, and the picture goes.
    """
    import ipywidgets as widgets

    def options() -> Sequence[tuple[str, int]]:
        try:
            return words(text.value)
        except ValueError:  # `draw` says what is wrong with the sentence
            return []

    def show(_=None) -> None:
        says = f"What the model makes of the hidden word {hidden.label}, step by step."
        question = text.value, hidden.value or 0, slider.value
        chosen = {name: menu.value for name, menu in dropdowns.items()}
        _answer(lambda: draw(*question, **chosen), says, message, picture)

    def renew(_=None) -> None:
        kept = hidden.value
        hidden.unobserve(show, "value")  # one picture, not one for each word on the way
        hidden.options = options()
        if kept in [number for _, number in hidden.options]:
            hidden.value = kept
        hidden.layout.display = None if hidden.options else "none"
        hidden.observe(show, "value")
        show()

    text = widgets.Text(sentence, description="Sentence", continuous_update=False)
    hidden = widgets.ToggleButtons(options=options(), value=word, description="Hide")
    slider = widgets.IntSlider(steps, 0, most_steps, description="Steps", continuous_update=False)
    dropdowns = {
        name: widgets.Dropdown(options=list(choices), description=name.capitalize())
        for name, choices in (menus or {}).items()
    }
    text.layout.width, hidden.style.button_width = "98%", "auto"
    message, picture = widgets.HTML(), widgets.HTML()
    text.observe(renew, "value")
    hidden.observe(show, "value")
    for control in (slider, *dropdowns.values()):
        control.observe(show, "value")
    show()
    return widgets.VBox([text, hidden, slider, *dropdowns.values(), message, picture])


def board(
    controls: Mapping[str, "Widget"], draw: Callable[..., "Figure"], says: Callable[..., str]
) -> "VBox":
    """Return widgets with a picture that is drawn again whenever one of them changes.

    Parameters
    ----------
    controls : mapping of str to Widget
        Each with a value.
    draw : callable
        From the values, by the names of their controls, to a Figure.
    says : callable
        From the same to a text that says what the picture shows.

    Returns
    -------
    ipywidgets.VBox
        A GridBox of the controls, side by side where there is room, a line for messages and the
        picture. A ValueError of `draw` becomes a message, and the picture goes.
    """
    import ipywidgets as widgets

    columns = widgets.Layout(grid_template_columns="repeat(auto-fit, minmax(320px, 1fr))")
    message, picture = widgets.HTML(), widgets.HTML()

    def show(_=None) -> None:
        values = {name: control.value for name, control in controls.items()}
        _answer(lambda: draw(**values), says(**values), message, picture)

    for control in controls.values():
        control.observe(show, "value")
    show()
    return widgets.VBox([widgets.GridBox([*controls.values()], layout=columns), message, picture])


def _answer(draw: Callable[[], "Figure"], says: str, message: "Widget", picture: "Widget") -> None:
    """Draw, and show the picture with the time it took, or what is wrong with the question."""
    started = time.perf_counter()
    try:
        figure = draw()
    except ValueError as error:
        picture.value, message.value = "", f"<b>{html.escape(str(error))}</b>"
        return
    picture.value = _image(figure, says)
    message.value = f"answered in {time.perf_counter() - started:.1f} s"


def _image(figure: "Figure", says: str) -> str:
    """Return a figure as an HTML image with a text for those who cannot see it; it is closed."""
    from matplotlib import pyplot

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img alt="{html.escape(says)}" style="max-width: 100%" src="{source}">'
