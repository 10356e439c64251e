"""What the chapter on the story model says, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.configuration import ExperimentConfig
from plasticity.companion.statistics import Interval, mean_interval, summarise, values_by_seed
from plasticity.companion.tables import by_variant, cell
from plasticity.experiments import substrate_story_model as experiment
from plasticity.substrate.domains.stories.telling import tell

GOAL, STRETCH, SHARE = 13.9, 12.5, 0.70  # perplexity, perplexity, of Kneser-Ney's
LMPLZ = 21.02  # KenLM's lmplz, order 5, on the same split
AGREEMENT = 0.005
DEMO_SECONDS = 10

LABELS = {
    "graph": "graph",
    "kneser_ney_6": "Kneser-Ney, order 6",
    "kneser_ney_5": "Kneser-Ney, order 5",
    "kneser_ney_4": "Kneser-Ney, order 4",
    "kneser_ney_3": "Kneser-Ney, order 3",
    "kneser_ney_2": "Kneser-Ney, order 2",
}
ABLATIONS = {
    "validation": "everything",
    "two_passes": "everything, learnt from twice",
    "without_last_words": "without the last words as states",
    "without_states": "without states",
    "without_skips": "without skip chains",
    "without_classes": "without chains of classes",
    "without_memory": "without working memory",
    "shorter_contexts": "first chain of two words only",
    "without_learning": "without learning: the first chain",
    "validation_kneser_ney": "Kneser-Ney, order 5",
}
# By profile, the arm that parts are taken from has 500 stories or all that are real.
_SIZES = ("scale_500", "validation", "scale_1000", "scale_real", "scale_5000", "scale_all")
# On stories of the Hub: other words and other held-out stories than the rest.
HUB = {
    f"scale_{size}{ending}": f"{stories} stories, {words} words: {name}"
    for size, stories, words in (
        ("5k", "5,000", "2,500"),
        ("30k", "30,000", "4,000"),
        ("100k", "100,000", "6,000"),
    )
    for ending, name in (("", "graph"), ("_kneser_ney", "Kneser-Ney, order 5"))
}
SCALING = {
    "graph": _SIZES,
    "Kneser-Ney, order 5": tuple(f"{size}_kneser_ney" for size in _SIZES),
}


def table(rows: pd.DataFrame, labels: dict[str, str], split: str) -> pd.DataFrame:
    """Set out perplexity, size and speed of some arms.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_model``.
    labels : dict of str to str
        Names to show for the variants, in order.
    split : str
        What was scored.

    Returns
    -------
    DataFrame
        Texts.
    """
    own = rows[rows["variant"].isin(labels)]
    columns = {
        "perplexity": ("perplexity", split, "{:.2f}"),
        "without unknown words": ("known_perplexity", split, "{:.2f}"),
        "of the vocabulary, %": ("relative_perplexity", split, "{:.2f}"),
        "synapses": ("synapses", "train", "{:,.0f}"),
        "megabytes": ("megabytes", "train", "{:,.0f}"),
        "words trained a second": ("tokens_per_second", "train", "{:,.0f}"),
        "words scored a second": ("tokens_per_second", split, "{:,.0f}"),
    }
    found = by_variant(summarise(own), columns, labels)
    return found.reindex([labels[v] for v in labels if v in set(own["variant"])])


def sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what more stories give and cost, the graph beside Kneser-Ney.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_model``.

    Returns
    -------
    DataFrame
        Texts, one row for each number of words to train on that both were trained on: perplexity
        on the held-out stories, as a share of the vocabulary, seconds of one core and megabytes.
    """
    lines = {}
    for words, own, peer in _sized(rows):
        both = {"graph": own, "Kneser-Ney": peer}
        line = {}
        for metric, name, form in (
            ("perplexity", "perplexity", "{:.2f}"),
            ("relative_perplexity", "of the vocabulary, %", "{:.2f}"),
        ):
            for who, variant in both.items():
                line[f"{name}: {who}"] = _text(_at(rows, variant, metric, "validation"), form)
        line["seconds: graph"] = f"{_train_seconds(rows, own):,.1f}"
        line["seconds: Kneser-Ney"] = f"{_train_seconds(rows, peer):,.1f}"
        line["megabytes: graph"] = f"{_at(rows, own, 'megabytes', 'train').mean:,.0f}"
        lines[f"{words:,.0f} words"] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _sized(rows: pd.DataFrame) -> list[tuple[float, str, str]]:
    """Return words to train on with the arms of the graph and of Kneser-Ney, the fewest first."""
    known = set(rows["variant"])
    pairs = [pair for pair in zip(*SCALING.values(), strict=True) if known.issuperset(pair)]
    return sorted((_at(rows, own, "tokens", "train").mean, own, peer) for own, peer in pairs)


def _train_seconds(rows: pd.DataFrame, variant: str) -> float:
    """Return the seconds of one core that counting and learning took."""
    names = ("build_seconds", "learning_seconds")
    own = rows[(rows["variant"] == variant) & rows["metric"].isin(names)]
    return own.groupby("metric")["value"].mean().sum()


def demo_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out the short run: seconds, perplexity and the guessing of words left out."""
    own = summarise(rows[rows["variant"].isin(["demo", "graph"])])
    own = own.set_index(["metric", "split", "step", "variant"])
    lines = {}
    for variant, split in (("demo", "validation"), ("graph", "test")):
        if variant not in own.index.get_level_values("variant"):
            continue
        places = {"seconds": ("seconds", "train", 0), "perplexity": ("perplexity", split, 0)}
        for top in experiment.TOPS:
            places[f"guessed in {top}, %"] = ("cloze_accuracy", split, top)
        places["mean rank"] = ("mean_rank", split, 0)
        places["median rank"] = ("median_rank", split, 0)
        name = "500 stories" if variant == "demo" else "all stories"
        lines[name] = [
            cell(*own.loc[(*place, variant), ["mean", "low", "high"]]) for place in places.values()
        ]
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(places))


def samples(config: ExperimentConfig, seed: int) -> pd.DataFrame:
    """Train the model of a config again and let it continue the source's three prompts.

    Returns
    -------
    DataFrame
        Texts by prompt; how words are drawn is the source's own way.
    """
    model, _ = experiment.trained(config, seed, experiment.stories(config))
    random = np.random.default_rng([seed, 2])
    said = {prompt: " ".join(tell(model, prompt, random)) for prompt in experiment.PROMPTS}
    return pd.DataFrame({"continuation": said})


def model(rows: pd.DataFrame) -> str:
    """Say in Markdown what became of the goals.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_model``, all its variants.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    tellers = {
        _goal: ("graph", "kneser_ney_5"),
        _peer: ("kneser_ney_5",),
        _sums: ("demo",),
        _parts: ("validation",),
        _scaling: ("validation", "validation_kneser_ney"),
        _demo: ("demo",),
    }
    known = set(rows["variant"])  # a full study may be half done
    sentences = [say(rows) for say, needed in tellers.items() if known.issuperset(needed)]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _at(rows: pd.DataFrame, variant: str, metric: str, split: str) -> Interval:
    return mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())


def _text(found: Interval, form: str = "{:.2f}") -> str:
    return cell(found.mean, found.low, found.high, form)


def _goal(rows: pd.DataFrame) -> str:
    own = _at(rows, "graph", "perplexity", "test")
    peer = _at(rows, "kneser_ney_5", "perplexity", "test")
    share = own.mean / peer.mean
    met = own.mean <= GOAL and share <= SHARE
    verdict = "both are met" if met else "they are not both met"
    stretch = "reached" if own.mean <= STRETCH else "not reached"
    return (
        f"The graph's perplexity on the test stories is {_text(own)}, {share:.3f} of Kneser-Ney's "
        f"{_text(peer)}. The goals were {GOAL} and {SHARE:.2f}: {verdict}; {STRETCH}, which was "
        f"hoped for, is {stretch}."
    )


def _peer(rows: pd.DataFrame) -> str:
    peer = _at(rows, "kneser_ney_5", "perplexity", "test").mean
    config = rows[(rows["variant"] == "kneser_ney_5") & (rows["metric"] == "tokens")]
    away = abs(peer / LMPLZ - 1)
    within = "within" if away <= AGREEMENT else "not within"
    tokens = config["value"].mean()
    return (
        f"Our Kneser-Ney of order 5 on {tokens:,.0f} words and ends differs by {100 * away:.2f} % "
        f"from KenLM's on the whole of the benchmark, {LMPLZ}: {within} {100 * AGREEMENT:.1f} %."
    )


def _sums(rows: pd.DataFrame) -> str:
    worst = rows.loc[rows["metric"] == "probability_error", "value"].max()
    return (
        f"The probabilities of all words add up to 1 within {worst:.0e} at every place of the "
        f"{experiment.SUMMED} stories in which that was checked, of each model."
    )


def _parts(rows: pd.DataFrame) -> str:
    """Say what taking each part away costs, the most first."""
    whole = _at(rows, "validation", "perplexity", "validation").mean
    costs = {
        name: 100 * (_at(rows, variant, "perplexity", "validation").mean / whole - 1)
        for variant, name in ABLATIONS.items()
        if variant.startswith(("without_", "shorter_")) and variant in set(rows["variant"])
    }
    ordered = sorted(costs.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {cost:+.1f} %" for name, cost in ordered)
    return f"On held-out training stories perplexity changes by, {listed}."


def _scaling(rows: pd.DataFrame) -> str:
    found = []
    for words, *arms in _sized(rows):
        ours, theirs = (_at(rows, arm, "perplexity", "validation").mean for arm in arms)
        found.append(f"{words:,.0f} words: {ours:.1f} against {theirs:.1f} ({ours / theirs:.2f})")
    (fewest, small, _), (most, large, _) = _sized(rows)[0], _sized(rows)[-1]
    said = f"By size of the training set, the graph against Kneser-Ney: {'; '.join(found)}."
    if most > fewest:
        times = _train_seconds(rows, large) / _train_seconds(rows, small)
        said += (
            f" {most / fewest:.1f} times as many words take {times:.1f} times as long to count and "
            "learn from."
        )
    return said


def _demo(rows: pd.DataFrame) -> str:
    seconds = _at(rows, "demo", "seconds", "train")
    met = "less" if seconds.mean < DEMO_SECONDS else "not less"
    return (
        f"The short run, counting, learning, scoring, guessing and telling, takes "
        f"{_text(seconds, '{:.1f}')} s: {met} than {DEMO_SECONDS} s."
    )
