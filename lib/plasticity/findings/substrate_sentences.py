"""What the chapter on sentences says, made from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import ABSENT, by_variant, cell
from plasticity.experiments.substrate_sentences import (
    DAMAGES,
    SOURCE_SENTENCE_ID,
    SOURCE_STORY,
)

ARMS = (
    "cold_start",
    "flat",
    "curriculum",
    "binding",
    "curriculum_binding",
    "curriculum_replay_binding",
    "sentence_id",
)


def story_table(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set out the twenty sentences, arm by arm.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_sentences``.
    labels : mapping of str to str
        Names to show for the arms.

    Returns
    -------
    DataFrame
        Texts: means with 95% intervals over the seeds, percent unless the heading says otherwise.
    """
    own = rows[rows["variant"].isin(ARMS)]
    shown = {variant: labels[variant].replace("\n", " ") for variant in ARMS}
    columns = {
        "words right, sentence named": ("routing_accuracy", "twenty", "{:.1f}"),
        "words right, sentence guessed": ("accuracy", "twenty", "{:.1f}"),
        "whole sentences, guessed": ("whole_sentences_share", "twenty", "{:.1f}"),
        "sentence guessed right": ("sentence_id_accuracy", "twenty", "{:.1f}"),
        "kilobytes": ("kilobytes", "twenty", "{:.0f}"),
    }
    table = by_variant(summarise(own), columns, shown)
    tried = own[own["metric"] == "curve_accuracy"].groupby("variant")["step"].max()
    table.insert(0, "sentences tried", [f"{tried[v]:,}" for v in dict.fromkeys(own["variant"])])
    source = [str(SOURCE_STORY.get(v, ABSENT)) for v in dict.fromkeys(own["variant"])]
    table["words right, the source"] = source
    return table


def tiny_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out the three generators: words right with one sentence taught, and with three.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the variant ``tiny``.

    Returns
    -------
    DataFrame
        Texts, one row for each generator.
    """
    names = {"slots": "slots alone", "context": "slots and context", "open": "no slots, memory"}
    lines = {}
    for generator, name in names.items():
        lines[name] = {
            f"{what}, {count} taught": _text(rows, metric, "tiny", f"{generator}, {count} taught")
            for count in (1, 3)
            for what, metric in (("words right", "accuracy"), ("right class", "class_accuracy"))
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def story(rows: pd.DataFrame) -> str:
    """Say in Markdown what came of the twenty sentences, failures included.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_sentences``.
    """
    return _listed(_course(rows), _compounding(rows), _inference(rows), _generators(rows))


def negatives(rows: pd.DataFrame) -> str:
    """Say in Markdown what plateau credit and sparse groups did.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_sentences``.
    """
    return _listed(_plateau(rows), _sparsity(rows))


def thousand(rows: pd.DataFrame) -> str:
    """Say in Markdown what came of the real sentences.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the variant ``thousand``.
    """
    return _listed(_recognised(rows), _calibrated(rows), _recalled(rows), _free(rows))


def _course(rows: pd.DataFrame) -> str:
    start, flat, bound = (
        _text(rows, "routing_accuracy", variant)
        for variant in ("cold_start", "flat", "curriculum_binding")
    )
    named = paired_difference(rows, "routing_accuracy", "binding", "flat")
    return (
        f"With classes and shape alone {start} % of the words are right, before any reward (the "
        f"source: {SOURCE_STORY['cold_start']}); reward alone brings {flat} % (the source: "
        f"{SOURCE_STORY['flat']}), curriculum with the sentence bound {bound} % (the source: "
        f"{SOURCE_STORY['curriculum_binding']}). Binding the sentence and nothing else changes "
        f"reward alone by {_difference(named)} points: {_side(named)}."
    )


def _compounding(rows: pd.DataFrame) -> str:
    parts = []
    for name, more, less in (
        ("curriculum without binding", "curriculum", "flat"),
        ("curriculum with it", "curriculum_binding", "binding"),
        ("curriculum and replay with it", "curriculum_replay_binding", "binding"),
    ):
        found = paired_difference(rows, "routing_accuracy", more, less)
        parts.append(f"{name} {_difference(found)} points ({_side(found)})")
    return (
        "For as many sentences tried, what is added to reward changes the words right by: "
        f"{'; '.join(parts)}."
    )


def _inference(rows: pd.DataFrame) -> str:
    words, whole, size = (
        _text(rows, metric, "sentence_id", form=form)
        for metric, form in (
            ("accuracy", "{:.1f}"),
            ("whole_sentences_share", "{:.0f}"),
            ("kilobytes", "{:.0f}"),
        )
    )
    named = _text(rows, "sentence_id_accuracy", "sentence_id")
    margin = _margin(rows)
    return (
        f"The sentence is guessed right from {named} % of the prompts (the source: "
        f"{SOURCE_SENTENCE_ID}). A prompt shares all three words with its own sentence and at most "
        f"{margin:.0f} with any other, so one Hebbian step for each word is enough. With a neuron "
        f"for each meeting of sentence and place, {words} % of the words are then right (the "
        f"source: {SOURCE_STORY['sentence_id']}) and {whole} % of the sentences without a "
        f"mistake, in {size} KB (the source: 478)."
    )


def _generators(rows: pd.DataFrame) -> str:
    slots, context, free = (
        _text(rows, "accuracy", "tiny", f"{name}, 3 taught")
        for name in ("slots", "context", "open")
    )
    works = values_by_seed(rows, "three_generators_work", "tiny") == 1
    return (
        f"All three generators of the tiny model say a single taught sentence without a mistake, "
        f"and only words of the right class, in {_seeds(works)}. With three sentences taught, "
        f"slots alone cannot tell which is meant ({slots} % of the words right); with the words "
        f"said so far active it is {context} %, and without slots {free} %."
    )


def _plateau(rows: pd.DataFrame) -> str:
    each, each_plateau, end, end_plateau = (
        _text(rows, "routing_accuracy", "plateau_credit", split)
        for split in (
            "paid each word, own step",
            "paid each word, plateau",
            "paid at the end, own step",
            "paid at the end, plateau",
        )
    )
    hurts, suits = (
        values_by_seed(rows, metric, "plateau_credit") == 1
        for metric in ("plateau_credit_hurts_per_step", "plateau_credit_suits_final_reward")
    )
    return (
        f"Paid for each word, credit to the word alone ends at {each} % and credit spread by a "
        f"plateau at {each_plateau} %: the plateau is worse in {_seeds(hurts)}. Paid once, at the "
        f"end, only the last word learns from credit to itself ({end} %), and the plateau reaches "
        f"the others ({end_plateau} %): better in {_seeds(suits)}."
    )


def _sparsity(rows: pd.DataFrame) -> str:
    everyone, few = (
        _text(rows, "routing_accuracy", "group_sparsity", split)
        for split in ("all may fire", "few may fire")
    )
    hurts = values_by_seed(rows, "group_sparsity_hurts", "group_sparsity") == 1
    return (
        f"Where all words of a class may fire and the credited one is among them, {everyone} % of "
        f"the words are right; where a class has few places and a word that is tried but did not "
        f"fire gets no credit, {few} %: worse in {_seeds(hurts)}."
    )


def _recognised(rows: pd.DataFrame) -> str:
    count = values_by_seed(rows, "sentences", "thousand").mean()
    share, clear, shared, best = (
        _text(rows, metric, "thousand", split)
        for metric, split in (
            ("unambiguous_share", "unambiguous"),
            ("sentence_id_accuracy", "unambiguous"),
            ("sentence_id_accuracy", "ambiguous"),
            ("best_possible_accuracy", "ambiguous"),
        )
    )
    return (
        f"Of {count:,.0f} real sentences {share} % have a prompt of their own, and of these "
        f"{clear} % are recognised. Of those that share their prompt with others {shared} % are; "
        f"nobody could do better than {best} %."
    )


def _calibrated(rows: pd.DataFrame) -> str:
    parts = []
    for damage in DAMAGES:
        sure, right = (
            _text(rows, metric, "thousand", damage) for metric in ("confidence", "guess_accuracy")
        )
        parts.append(f"{damage}: {sure} % sure, {right} % right")
    error = _text(rows, "calibration_error", "thousand", "all")
    return (
        f"How sure a guess is fits how often it is right, to {error} points on average "
        f"({'; '.join(parts)}). It is fitted to other sentences, one number for all three kinds."
    )


def _recalled(rows: pd.DataFrame) -> str:
    words, whole, without = (
        _text(rows, metric, "thousand", split)
        for metric, split in (
            ("accuracy", "in mind"),
            ("whole_sentences_share", "in mind"),
            ("accuracy", "not in mind"),
        )
    )
    return (
        f"Without any part of speech given, sentences with a prompt of their own are said again "
        f"with {words} % of the words right and {whole} % without a mistake; when the sentence "
        f"does not come to mind, {without} %."
    )


def _free(rows: pd.DataFrame) -> str:
    free, real, shuffled, ended, copied = (
        _text(rows, metric, "thousand", split)
        for metric, split in (
            ("attested_share", "free"),
            ("attested_share", "real"),
            ("attested_share", "shuffled"),
            ("ended_share", "free"),
            ("copied_share", "free"),
        )
    )
    return (
        f"From prompts that were never met, {ended} % of the sentences come to an end by "
        f"themselves. {free} % of their word triples occur in text that was not met either; of the "
        f"real continuations {real} %, of the same words shuffled {shuffled} %. {copied} % of the "
        f"continuations are the end of some sentence that was met, word for word."
    )


def _margin(rows: pd.DataFrame) -> float:
    """Return the most words that a prompt shares with another sentence than its own."""
    own = rows[(rows["metric"] == "id_evidence") & (rows["variant"] == "sentence_id")]
    other = own["split"].str.removeprefix("prompt ").astype(int) != own["step"]
    return float(own.loc[other, "value"].max())


def _text(
    rows: pd.DataFrame, metric: str, variant: str, split: str = "twenty", form: str = "{:.1f}"
) -> str:
    found = mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())
    return cell(found.mean, found.low, found.high, form)


def _difference(found: Interval) -> str:
    return cell(found.mean, found.low, found.high, "{:+.1f}")


def _side(found: Interval) -> str:
    if np.isnan(found.low):
        return "one seed, so no interval"
    if found.low > 0:
        return "more"
    return "fewer" if found.high < 0 else "no difference can be told"


def _seeds(held: pd.Series) -> str:
    return f"{int(held.sum())} of {len(held)} seed{'s' if len(held) > 1 else ''}"


def _listed(*sentences: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
