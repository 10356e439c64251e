"""What the playground's page says, made from the numbers."""

import pandas as pd

from plasticity.pnn.questions import MOST_STEPS


def model(rows: pd.DataFrame) -> str:
    """Say in Markdown what the released model is and how well it does.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_playground``; may be empty.
    """
    if rows.empty:
        return "Its numbers stand in the card beside it; no results are stored here."
    value = rows.set_index(["metric", "split", "step"])["value"].sort_index()
    readouts = " → ".join(f"{number:.1f}" for number in value["readout_accuracy", "test"])
    return (
        f"It has {value['parameters', 'untied', 0]:,.0f} parameters "
        f"({value['bytes', 'playground', 0] / 1e6:.2f} MB) and names "
        f"**{value['accuracy', 'test', 0]:.1f} %** of the hidden word pieces of the test set; "
        "always answering the commonest one gets "
        f"{value['constant_guess_accuracy', 'test', 0]:.1f} %. From the embeddings to the last "
        f"step it reads out {readouts} %. One answer with "
        f"{MOST_STEPS} steps to the longest sentence took "
        f"{1000 * value['answer_seconds', 'playground', MOST_STEPS]:.0f} ms, its figure left out."
    )


def path(rows: pd.DataFrame) -> str:
    """Say in Markdown what one answer shows.

    Parameters
    ----------
    rows : DataFrame
        As `plasticity.pnn.questions.answer` returns them.
    """
    chances = rows[rows["metric"] == "probability"]
    best = chances.loc[chances.groupby("step")["value"].idxmax()].set_index("step")
    true = rows[rows["metric"] == "true_word_probability"].set_index("step")
    last, hidden = best.index.max(), true["label"].iloc[0]
    turns = best["label"][best["label"] != best["label"].shift()]
    course = ", ".join(f"*{word}* from step {step}" for step, word in turns.items())
    verdict = "right" if turns.iloc[-1] == hidden else "not the hidden word"
    text = (
        f"The likeliest word is {course}: {verdict}. *{hidden}* goes from "
        f"{100 * true['value'].loc[0]:.1f} % to {100 * true['value'].loc[last]:.1f} % in {last} "
        "steps."
    )
    delta = rows[(rows["metric"] == "delta_rms") & (rows["label"] == "[MASK]")]
    if len(delta) > 1:
        sizes = delta.set_index("step")["value"]
        grown = "shrinks" if sizes.iloc[-1] < sizes.iloc[0] else "does not shrink"
        text += (
            f" The update {grown}: root mean square {sizes.iloc[0]:.2f} at step 1, "
            f"{sizes.iloc[-1]:.2f} at step {sizes.index[-1]}."
        )
    for stop in rows.loc[rows["metric"] == "enough", "step"]:
        kept = "as" if best["label"].loc[stop] == best["label"].loc[last] else "not as"
        text += f" The rule would stop after step {stop} with *{best['label'].loc[stop]}*, {kept} "
        text += f"after step {last}."
    return text


def change(name: str, at: int) -> str:
    """Say what is changed in a model, and at which step; empty where nothing is.

    Parameters
    ----------
    name, at
        As for `plasticity.experiments.pnn_playground.interventions`.

    Examples
    --------
    >>> change("gate open", 1), change("gate open", 0), change("nothing", 1)
    ('gate open at step 1', 'gate open', '')
    """
    if name == "nothing":
        return ""
    return f"{name} at step {at}" if at else name


def changes(found: dict[str, dict[str, pd.DataFrame]], trained_steps: int) -> pd.DataFrame:
    """Set out what a model answers when a part of it is changed.

    Parameters
    ----------
    found : dict of dict of DataFrame
        Rows as `plasticity.pnn.questions.answer` returns them, by change and hidden word.
    trained_steps : int
        The step read.

    Returns
    -------
    DataFrame
        Texts, one row a change, one column a hidden word: the likeliest word and its probability.
    """
    texts = {
        change: {f"hidden: {word}": _guess(rows, trained_steps) for word, rows in own.items()}
        for change, own in found.items()
    }
    return pd.DataFrame.from_dict(texts, orient="index")


def guessed(found: dict[str, dict[str, pd.DataFrame]], trained_steps: int) -> str:
    """Say in Markdown how many hidden words a model still guesses with each change.

    Parameters
    ----------
    found, trained_steps
        As for `changes`.
    """
    right = {
        change: sum(_best(rows, trained_steps)["label"] == word for word, rows in own.items())
        for change, own in found.items()
    }
    count, plain = len(found["nothing"]), right.pop("nothing")
    told = ", ".join(f"{number} with {change}" for change, number in right.items())
    return (
        f"Left as it is, the model guesses **{plain}** of these {count} words after "
        f"{trained_steps} steps; {told}."
    )


def halting(found: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Set out after which step each rule would stop, and with which word.

    Parameters
    ----------
    found : dict of dict of DataFrame
        Rows as `plasticity.pnn.questions.answer` returns them, by rule and hidden word.

    Returns
    -------
    DataFrame
        Texts, one row a rule, one column a hidden word.
    """
    texts = {}
    for rule, own in found.items():
        texts[rule] = {}
        for word, rows in own.items():
            enough, last = rows[rows["metric"] == "enough"]["step"], rows["step"].max()
            step = enough.iloc[0] if len(enough) else last
            when = f"step {step}" if len(enough) else f"not in {last} steps"
            texts[rule][f"hidden: {word}"] = f"{when}: {_guess(rows, step)}"
    return pd.DataFrame.from_dict(texts, orient="index")


def _guess(rows: pd.DataFrame, step: int) -> str:
    """Return the likeliest word after a step, with its probability in percent."""
    best = _best(rows, step)
    return f"{best['label']} ({100 * best['value']:.0f} %)"


def _best(rows: pd.DataFrame, step: int) -> pd.Series:
    chances = rows[(rows["metric"] == "probability") & (rows["step"] == step)]
    return chances.loc[chances["value"].idxmax()]


def guesses(found: pd.DataFrame, chosen: dict[str, str]) -> pd.DataFrame:
    """Set out the likeliest word after each step, for one hidden word of each sentence.

    Parameters
    ----------
    found : DataFrame
        As `plasticity.pnn.questions.gallery` returns it.
    chosen : dict of str to str
        The hidden word, by sentence.

    Returns
    -------
    DataFrame
        Texts, one row a sentence, one column a step: the word and its probability in percent.
    """
    lines = {}
    for sentence, word in chosen.items():
        part = found[(found["sentence"] == sentence) & (found["word"] == word)]
        pairs = zip(part["guess"], part["guess_probability"], strict=True)
        texts = [f"{guess} ({100 * chance:.0f} %)" for guess, chance in pairs]
        hidden = sentence.replace(f" {word}", f" [{word}]", 1)
        lines[hidden] = dict(zip((f"step {step}" for step in part["step"]), texts, strict=True))
    return pd.DataFrame.from_dict(lines, orient="index")


def more_steps(found: pd.DataFrame, trained_steps: int) -> str:
    """Say in Markdown what changes with more steps than a model was trained for.

    Parameters
    ----------
    found : DataFrame
        As `plasticity.pnn.questions.gallery` returns it.
    trained_steps : int
    """
    chance = found.groupby("step")["true_word_probability"].mean()
    right = {step: part["right"].to_numpy() for step, part in found.groupby("step")}
    guess = {step: part["guess"].to_numpy() for step, part in found.groupby("step")}
    last, trained = found["step"].max(), right[trained_steps]
    count, changed = len(trained), (guess[trained_steps] != guess[last]).sum()
    return (
        f"Of {count} words hidden in turn, {right[0].sum()} are guessed from the embeddings, "
        f"**{trained.sum()}** after the {trained_steps} steps of the training and "
        f"**{right[last].sum()}** after {last}; the mean probability of the hidden word goes "
        f"{chance[0]:.2f} → {chance[trained_steps]:.2f} → {chance[last]:.2f}. Between step "
        f"{trained_steps} and step {last}, {changed} guesses change: right ones gained "
        f"{(~trained & right[last]).sum()}, right ones lost {(trained & ~right[last]).sum()}. So "
        "few sentences illustrate; they measure nothing."
    )
