"""A playground in a notebook: a sentence, a word of it to hide, a number of steps, a picture."""

import base64
import html
import io
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure


def playground(
    words: Callable[[str], Sequence[tuple[str, int]]],
    draw: Callable[[str, int, int], "Figure"],
    sentence: str,
    word: int,
    steps: int,
    most_steps: int,
) -> "VBox":
    """Return widgets that draw again whenever the sentence, the hidden word or the steps change.

    Parameters
    ----------
    words : callable
        From a sentence to its words that can be hidden, each with its number.
    draw : callable
        From a sentence, the number of its hidden word and the steps to a Figure.
    sentence : str
        The sentence at first.
    word : int
        Number of the word hidden at first; kept when the sentence changes, where it can be hidden.
    steps, most_steps : int
        Steps at first, and the most that can be asked for.

    Returns
    -------
    ipywidgets.VBox
        Text, ToggleButtons, IntSlider, a line for messages and the picture. A ValueError of
        `draw` becomes a message, and the picture goes.
    """
    import ipywidgets as widgets

    def options() -> Sequence[tuple[str, int]]:
        try:
            return words(text.value)
        except ValueError:  # `draw` says what is wrong with the sentence
            return []

    def show(_=None) -> None:
        started = time.perf_counter()
        try:
            figure = draw(text.value, hidden.value or 0, slider.value)
        except ValueError as error:
            picture.value, message.value = "", f"<b>{html.escape(str(error))}</b>"
            return
        picture.value = _image(figure, str(hidden.label))
        message.value = f"answered in {time.perf_counter() - started:.1f} s"

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
    text.layout.width, hidden.style.button_width = "98%", "auto"
    message, picture = widgets.HTML(), widgets.HTML()
    text.observe(renew, "value")
    hidden.observe(show, "value")
    slider.observe(show, "value")
    show()
    return widgets.VBox([text, hidden, slider, message, picture])


def _image(figure: "Figure", hidden: str) -> str:
    """Return a figure as an HTML image with a text for those who cannot see it; it is closed."""
    from matplotlib import pyplot

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    text = html.escape(f"What the model makes of the hidden word {hidden}, step by step.")
    return f'<img alt="{text}" style="max-width: 100%" src="{source}">'
