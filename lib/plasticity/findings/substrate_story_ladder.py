"""What the chapter on the source's steps says, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.configuration import ExperimentConfig
from plasticity.companion.statistics import Interval, mean_interval, summarise, values_by_seed
from plasticity.companion.tables import ABSENT, by_variant, cell
from plasticity.experiments import substrate_story_ladder as experiment
from plasticity.substrate.domains.stories.telling import tell

LABELS = {
    "weights": "weights alone",
    "spread": "spread over the top edges (#B)",
    "unigram": "the words alone (#A)",
    "unigram_spread": "#A + #B",
    "unigram_negatives": "#A + #C",
    "unigram_negatives_far": "#A + #C + #E",
    "unigram_negatives_neighbours": "#A + #C + #F",
    "kneser_ney_5": "Kneser-Ney, order 5",
}
CLAIMS = (
    "sub-ppl-5k-base",
    "sub-ppl-5k-spread",
    "sub-ppl-5k-unigram",
    "sub-ppl-5k-ac",
    "sub-ppl-5k-knn",
    "sub-ppl-30k",
    "sub-ppl-100k",
    "sub-ppl-headline",
    "sub-ppl-relative",
    "sub-ppl-ngram",
    "sub-neg-ab",
    "sub-neg-ace",
    "sub-neg-bpe",
    "sub-neg-binding",
    "sub-speed",
    "sub-lm-size",
    "sub-cloze",
    "sub-samples",
)
SOURCE_SPEED, SOURCE_CORES = 580_000, 4  # pairs a second


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out the steps with the source's figures beside them.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_ladder``.

    Returns
    -------
    DataFrame
        Texts.
    """
    own = rows[rows["variant"].isin(LABELS)]
    columns = {
        "perplexity": ("perplexity", "test", "{:,.1f}"),
        "of the vocabulary, %": ("relative_perplexity", "test", "{:.2f}"),
        "megabytes": ("megabytes", "train", "{:,.0f}"),
    }
    found = by_variant(summarise(own), columns, LABELS)
    source = {LABELS[name]: f"{value:,}" for name, value in experiment.SOURCE.items()}
    found.insert(1, "the source's, 5K stories", [source.get(name, ABSENT) for name in found.index])
    return found.reindex([LABELS[v] for v in LABELS if v in set(own["variant"])])


def speeds(rows: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Set out how many pairs a second are learnt, under both definitions.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_ladder``: every word is scored before each place is learnt.
    pairs : DataFrame
        Tidy rows of ``substrate_pairs``: only the synapses involved are touched.

    Returns
    -------
    DataFrame
        Texts, on one core.
    """
    lines = {}
    for variant, name in (("weights", "no negatives"), ("unigram_negatives", "three negatives")):
        found = _at(rows, variant, "pairs_per_second", "train")
        lines[f"places, every word scored, {name}"] = [_text(found, "{:,.0f}")]
    own = pairs[pairs["split"] == "processor"] if len(pairs) else pairs
    names = {"dense": "pairs touched, matrix", "rows": "pairs touched, rows of the graph"}
    for variant, name in names.items():
        values = own[own["variant"] == variant]["value"] if len(own) else own
        lines[name] = [f"{values.median():,.0f}" if len(values) else ABSENT]
    lines[f"the source's, on {SOURCE_CORES} cores"] = [f"{SOURCE_SPEED:,}"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=["a second"])


def guessing(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out the guessing of words left out: shares in the first few, and ranks."""
    rows = rows[rows["variant"] == "unigram_negatives_neighbours"]
    if rows.empty:  # a full study may be half done
        return pd.DataFrame()
    own = summarise(rows).set_index(["metric", "split", "step"])
    places = {f"in the first {top}, %": ("cloze_accuracy", "test", top) for top in experiment.TOPS}
    places |= {"mean rank": ("mean_rank", "test", 0), "median rank": ("median_rank", "test", 0)}
    line = [cell(*own.loc[place, ["mean", "low", "high"]]) for place in places.values()]
    return pd.DataFrame([line], columns=list(places), index=["#A + #C + #F"])


def samples(config: ExperimentConfig, seed: int) -> pd.DataFrame:
    """Train the model of a config again and let it continue the source's three prompts."""
    model, _, _ = experiment.mixture(config, seed)
    random = np.random.default_rng([seed, 3])
    said = {prompt: " ".join(tell(model, prompt, random)) for prompt in experiment.PROMPTS}
    return pd.DataFrame({"continuation": said})


def ladder(rows: pd.DataFrame) -> str:
    """Say in Markdown what became of the steps.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_story_ladder``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    tellers = {
        _steps: experiment.SOURCE,
        _peer: ("unigram", "unigram_negatives_neighbours", "kneser_ney_5"),
        _spread: ("unigram_spread", "spread", "weights"),
        _far: ("unigram_negatives_far",),
        _pieces: ("subwords",),
        _bound: ("binding",),
    }
    known = set(rows["variant"])  # a full study may be half done
    sentences = [say(rows) for say, needed in tellers.items() if known.issuperset(needed)]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _at(rows: pd.DataFrame, variant: str, metric: str, split: str) -> Interval:
    return mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())


def _text(found: Interval, form: str = "{:,.1f}") -> str:
    return cell(found.mean, found.low, found.high, form)


def _steps(rows: pd.DataFrame) -> str:
    parts = [
        f"{LABELS[name]} {_text(_at(rows, name, 'perplexity', 'test'))} (the source: {value:,})"
        for name, value in experiment.SOURCE.items()
    ]
    tokens = _at(rows, "weights", "tokens", "train").mean
    return f"Learnt from {tokens:,.0f} words and ends, perplexities are: {'; '.join(parts)}."


def _peer(rows: pd.DataFrame) -> str:
    best = _at(rows, "unigram_negatives_neighbours", "perplexity", "test")
    peer = _at(rows, "kneser_ney_5", "perplexity", "test")
    alone = _at(rows, "unigram", "perplexity", "test")
    ours, theirs = (100 * (1 - found.mean / alone.mean) for found in (best, peer))
    return (
        f"On the same words Kneser-Ney of order 5 has {peer.mean:.1f}: the source's best step is "
        f"{best.mean / peer.mean:.1f} times as perplexed. It takes {ours:.0f} % off the perplexity "
        f"of the words alone, Kneser-Ney {theirs:.0f} %."
    )


def _spread(rows: pd.DataFrame) -> str:
    spread = _at(rows, "unigram_spread", "perplexity", "test")
    plain = _at(rows, "unigram_spread", "perplexity", "without spread")
    bare, matrix = (_at(rows, name, "perplexity", "test") for name in ("spread", "weights"))
    verb = "does not help" if spread.mean >= plain.mean else "helps"
    return (
        f"Spread over the strongest synapses (#B) takes the weights alone from {_text(matrix)} to "
        f"{_text(bare)}; mixed with the words alone (#A) it {verb}: {_text(spread)} against "
        f"{_text(plain)} by all of them."
    )


def _far(rows: pd.DataFrame) -> str:
    far = _at(rows, "unigram_negatives_far", "perplexity", "test")
    near = _at(rows, "unigram_negatives_far", "perplexity", "without far words")
    verb = "does not help" if far.mean >= near.mean else "helps"
    return f"Pulls from further back (#E): {_text(far)} against {_text(near)} without: it {verb}."


def _pieces(rows: pd.DataFrame) -> str:
    words, pieces = (
        _at(rows, "subwords", "bits_per_character", split) for split in ("words", "subwords")
    )
    verb = "worse" if pieces.mean > words.mean else "not worse"
    return (
        f"Pieces of words need {_text(pieces, '{:.2f}')} bits a character, words "
        f"{_text(words, '{:.2f}')}: {verb}. But the words' count is flattered: an unknown word is "
        "scored as one mark, and its characters are had for nothing."
    )


def _bound(rows: pd.DataFrame) -> str:
    none, oracle, guessed = (
        _at(rows, "binding", "perplexity", f"met, {name}")
        for name in ("none", "oracle", "predicted")
    )
    new, without = (
        _at(rows, "binding", "perplexity", f"test, {name}") for name in ("predicted", "none")
    )
    share = _at(rows, "binding", "sentence_id_accuracy", "met")
    return (
        f"A neuron for each story: on stories met, {_text(none)} without, {_text(oracle)} with the "
        f"story named, {_text(guessed)} with it guessed from the last four words, which is right "
        f"{_text(share)} % of the time; on new stories {_text(new)} guessed, {_text(without)} "
        "without."
    )
