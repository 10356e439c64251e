"""Sentences on the neuron graph: routes learnt from reward, recognition, recall, free generation.

Twenty sentences of our own stand for the source's twenty, which it wrote in the same shape; and a
thousand real ones, cut out of stories and books, for what it left open.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import datasets as data
from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate.domains.sentences import corpus, cues, rewards, routing, tiny
from plasticity.substrate.domains.sentences.corpus import PROMPT, SHAPE, TWENTY, Sentence
from plasticity.substrate.domains.sentences.memory import SentenceMemory
from plasticity.substrate.domains.sentences.rewards import Training
from plasticity.substrate.domains.sentences.routing import Router

TASKS = ("routing", "plateau", "sparsity", "tiny", "memory")
FALLBACK = "stories_sampled"  # ships with the project
SHARPNESSES = np.linspace(0.25, 12, 48)
BINS = 10
DAMAGES = ("whole", "one word missing", "one word wrong")

# The source's own figures, percent.
SOURCE_STORY = {"cold_start": 28, "flat": 33, "curriculum_binding": 89, "sentence_id": 87}
SOURCE_SENTENCE_ID = 95

Row = tuple[int, str, str, float]  # step, split, metric, value


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """What is learnt, and how; each task reads the settings that concern it."""

    task: str = setting("routing", f"one of {', '.join(TASKS)}")
    episodes: int = setting(600, "sentences tried in all, of the twenty")
    binding: str = setting("none", f"context beside words and place: {', '.join(routing.BINDINGS)}")
    stages: int = setting(1, "stages of the curriculum; 1 for none")
    replay: int = setting(0, "past episodes lived again after each")
    learning_rate: float = setting(0.4, "of the routes")
    sparsity: int = setting(1, "words of a class that may fire at once, in task sparsity")
    evaluations: int = setting(12, "points of the learning curve")
    corpora: tuple[str, ...] = setting(
        ("tinystories", "gutenberg_nltk"), "what real sentences are drawn from, in equal parts"
    )
    documents: int = setting(12_000, "texts of each corpus that are read, drawn by seed")
    sentences: int = setting(1000, "real sentences to remember")
    asked: int = setting(300, "sentences said again, prompts damaged, and new prompts, at most")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("task", self.task, TASKS)
        check_choice("binding", self.binding, routing.BINDINGS)
        check_range("episodes", self.episodes, 0, 10**6)
        check_range("stages", self.stages, 1, len(TWENTY))
        check_range("replay", self.replay, 0, 100)
        check_range("learning_rate", self.learning_rate, 1e-6, 1)
        check_range("sparsity", self.sparsity, 1, 100)
        check_range("evaluations", self.evaluations, 1, 1000)
        check_range("documents", self.documents, 1, 10**7)
        check_range("sentences", self.sentences, 20, 10**6)
        check_range("asked", self.asked, 10, 10**6)
        for name in self.corpora:
            check_choice("corpora", name, data.names())


def datasets(config: Config) -> tuple[str, ...]:
    """Return the names of the datasets that a run reads.

    Those of its corpora that can be reached; where none can, the sampled stories that the project
    ships, and the page's provenance says so.
    """
    if config.task != "memory":
        return ()
    return tuple(name for name in config.corpora if data.available(name)) or (FALLBACK,)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Teach one brain, or the few that a check compares, and measure what it can say.

    Parameters
    ----------
    config : Config
    seed : int
        Decides resting levels, order, exploration, and which real sentences are drawn.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used: one process, no device.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. The step counts episodes for ``curve_accuracy``,
        sentences for ``id_evidence`` and bins of confidence for the calibration; 0 elsewhere.
    """
    task = {
        "routing": _routing,
        "plateau": _plateau,
        "sparsity": _sparsity,
        "tiny": _tiny,
        "memory": _memory,
    }[config.task]
    frame = pd.DataFrame(task(config, seed), columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def taught_router(config: Config, seed: int, **changes) -> tuple[Router, list[tuple[int, float]]]:
    """Teach a router the twenty sentences.

    Parameters
    ----------
    config : Config
    seed : int
    **changes
        ``sparsity`` of the router; ``plateau`` and ``at_end`` of the training.

    Returns
    -------
    router : Router
    curve : list of (int, float)
        Percent of words right, the sentence given where it is bound, after so many episodes.
    """
    sparsity = changes.pop("sparsity", 0)
    router = Router(TWENTY, seed, config.binding, config.learning_rate, sparsity)
    training = Training(config.episodes, config.stages, config.replay, **changes)
    points = np.linspace(0, config.episodes, config.evaluations + 1).round().astype(int)
    curve = [(0, rewards.accuracy(router)[0])]
    for done in rewards.train(router, training, seed):
        if done in points:
            curve.append((done, rewards.accuracy(router)[0]))
    return router, curve


def _routing(config: Config, seed: int) -> list[Row]:
    router, curve = taught_router(config, seed)
    words, whole = rewards.accuracy(router, given=False)
    rows = [(done, "twenty", "curve_accuracy", value) for done, value in curve]
    rows += [
        (0, "twenty", "routing_accuracy", curve[-1][1]),
        (0, "twenty", "accuracy", words),
        (0, "twenty", "whole_sentences_share", whole),
        (0, "twenty", "kilobytes", router.brain.bytes / 1000),
    ]
    if router.cues:
        evidence = np.array([router.cues.evidence(words[:PROMPT]) for words in TWENTY])
        right = evidence.argmax(axis=1) == np.arange(len(TWENTY))
        rows.append((0, "twenty", "sentence_id_accuracy", 100 * right.mean()))
        rows += [
            (sentence, f"prompt {prompt}", "id_evidence", float(value))
            for prompt, line in enumerate(evidence)
            for sentence, value in enumerate(line)
        ]
    return rows


def _plateau(config: Config, seed: int) -> list[Row]:
    """Compare credit to the step alone with credit spread by a plateau, for both kinds of pay."""
    found, config = {}, dataclasses.replace(config, evaluations=1)
    for paid, at_end in (("each word", False), ("at the end", True)):
        for credit, plateau in (("own step", False), ("plateau", True)):
            _, curve = taught_router(config, seed, at_end=at_end, plateau=plateau)
            found[f"paid {paid}, {credit}"] = curve[-1][1]
    each, each_plateau, end, end_plateau = found.values()
    rows = [(0, split, "routing_accuracy", value) for split, value in found.items()]
    return [
        *rows,
        (0, "twenty", "plateau_credit_hurts_per_step", float(each_plateau < each)),
        (0, "twenty", "plateau_credit_suits_final_reward", float(end_plateau > end)),
    ]


def _sparsity(config: Config, seed: int) -> list[Row]:
    """Compare learning where all words of a class may fire, and few: silent ones get no credit."""
    config = dataclasses.replace(config, evaluations=1)
    everyone = taught_router(config, seed)[1][-1][1]
    few = taught_router(config, seed, sparsity=config.sparsity)[1][-1][1]
    return [
        (0, "all may fire", "routing_accuracy", everyone),
        (0, "few may fire", "routing_accuracy", few),
        (0, "twenty", "group_sparsity_hurts", float(few < everyone)),
    ]


def _tiny(config: Config, seed: int) -> list[Row]:
    """Teach one sentence, then three, as facts, and say them in three ways."""
    order = np.random.default_rng(seed).permutation(len(TWENTY))
    rows, works = [], True
    for count in (1, 3):
        taught = [TWENTY[i] for i in order[:count]]
        model = tiny.TinyModel(taught, seed)
        for name in tiny.GENERATORS:
            said = [model.say(words[:PROMPT], name) for words in taught]
            right = _right(said, taught)
            kinds = np.mean([_classes_right(model, words) for words in said])
            split = f"{name}, {count} taught"
            rows.append((0, split, "accuracy", 100 * right))
            rows.append((0, split, "class_accuracy", 100 * kinds))
            works &= kinds == 1 and (right == 1 or count > 1)
    return [*rows, (0, "tiny", "three_generators_work", float(works))]


def _classes_right(model: tiny.TinyModel, said: list[str]) -> float:
    shape = SHAPE[PROMPT:]
    return sum(model.kind(word) == kind for word, kind in zip(said, shape, strict=False)) / len(
        shape
    )


def _right(said: list[list[str]], meant: list[Sentence]) -> float:
    """Return the share of the words meant that were said in their place."""
    places = [(words, sentence[PROMPT:]) for words, sentence in zip(said, meant, strict=True)]
    hits = sum(a == b for words, rest in places for a, b in zip(words, rest, strict=False))
    return hits / sum(len(rest) for _, rest in places)


@functools.lru_cache(maxsize=2)
def real_sentences(config: Config, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Draw the sentences to remember, in equal parts from each corpus, and return the others.

    Parameters
    ----------
    config : Config
    seed : int

    Returns
    -------
    drawn, rest : list of tuple of str
    """
    generator = np.random.default_rng([seed, 2])
    names = datasets(config)
    drawn, rest = [], []
    for place, name in enumerate(names):
        table = data.load(name)["train"]
        chosen = np.sort(generator.permutation(len(table))[: config.documents])
        share = config.sentences * (place + 1) // len(names) - len(drawn)
        some, others = corpus.draw(table[chosen]["text"], share, generator)
        drawn, rest = drawn + some, rest + others
    known = set(drawn)  # a sentence may stand in both corpora
    return list(dict.fromkeys(drawn)), [sentence for sentence in rest if sentence not in known]


def _memory(config: Config, seed: int) -> list[Row]:
    sentences, rest = real_sentences(config, seed)
    memory = SentenceMemory(sentences, seed)
    sharing = corpus.sharing(sentences)
    guesses = np.array([memory.cues.guess(sentence[:PROMPT]) for sentence in sentences])
    right = guesses == np.arange(len(sentences))
    clear = sharing == 1
    identified = 100 * right[clear].mean()
    rows = [
        (0, "all", "sentences", len(sentences)),
        (0, "unambiguous", "unambiguous_share", 100 * clear.mean()),
        (0, "unambiguous", "sentence_id_accuracy", identified),
        (0, "ambiguous", "sentence_id_accuracy", 100 * right[~clear].mean()),
        # Nobody can do better than name one sentence of each prompt.
        (0, "ambiguous", "best_possible_accuracy", 100 * (1 / sharing[~clear]).mean()),
        (0, "all", "kilobytes", memory.brain.bytes / 1000),
        (0, "unambiguous", "thousand_sentences_identified", float(identified >= 99)),
    ]
    generator = np.random.default_rng([seed, 3])
    rows += _calibration(config, memory, sentences, generator)
    recalled = _recall(config, memory, [s for s, one in zip(sentences, clear, strict=True) if one])
    free = _free(config, memory, sentences, rest, generator)
    value = {(split, metric): number for _, split, metric, number in recalled + free}
    attested = {name: value[name, "attested_share"] for name in ("free", "real", "shuffled")}
    speaks = (
        value["in mind", "accuracy"] >= 99
        and value["free", "ended_share"] >= 95
        and attested["free"] >= (attested["real"] + attested["shuffled"]) / 2
    )
    checked = (0, "free", "generates_without_given_classes", float(speaks))
    return [*rows, *recalled, *free, checked]


def _calibration(
    config: Config, memory: SentenceMemory, sentences: list[Sentence], generator
) -> list[Row]:
    """Ask with whole and damaged prompts how sure the guess is, and how often it is right.

    How much a shared word counts is fitted to half of the sentences; the other half is scored.
    """
    asked = generator.permutation(len(sentences))[: config.asked]
    evidence, kinds, truth = [], [], []
    for damage in DAMAGES:
        for index in asked:
            prompt = _damaged(sentences, int(index), damage, generator)
            evidence.append(memory.cues.evidence(prompt))
            kinds.append(damage)
            truth.append(index)
    evidence, kinds, truth = np.array(evidence), np.array(kinds), np.array(truth)
    fitted = np.tile(np.arange(len(asked)) % 2 == 0, len(DAMAGES))
    sharpness = max(SHARPNESSES, key=lambda s: _likelihood(evidence[fitted], truth[fitted], s))
    shares = cues.posterior(evidence[~fitted], sharpness)
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == truth[~fitted]
    rows = [(0, "all", "sharpness", float(sharpness))]
    for damage in ("all", *DAMAGES):
        own = (kinds[~fitted] == damage) | (damage == "all")
        error = 100 * cues.calibration_error(confidence[own], right[own], BINS)
        rows.append((0, damage, "calibration_error", error))
        rows.append((0, damage, "confidence", 100 * confidence[own].mean()))
        rows.append((0, damage, "guess_accuracy", 100 * right[own].mean()))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for place in np.unique(bins):
        own = bins == place
        rows.append((int(place), "bins", "confidence", 100 * confidence[own].mean()))
        rows.append((int(place), "bins", "guess_accuracy", 100 * right[own].mean()))
        rows.append((int(place), "bins", "prompts", int(own.sum())))
    return rows


def _damaged(sentences: list[Sentence], index: int, damage: str, generator) -> list[str | None]:
    """Return a sentence's prompt: whole, without one word, or with another's in its place."""
    prompt: list[str | None] = list(sentences[index][:PROMPT])
    place = int(generator.integers(PROMPT))
    if damage == "one word missing":
        prompt[place] = None
    elif damage == "one word wrong":
        others = [s[place] for s in sentences if s[place] != prompt[place]]
        prompt[place] = others[int(generator.integers(len(others)))]
    return prompt


def _likelihood(evidence: np.ndarray, truth: np.ndarray, sharpness: float) -> float:
    shares = cues.posterior(evidence, sharpness)
    return float(np.log(shares[np.arange(len(truth)), truth]).mean())


def _recall(config: Config, memory: SentenceMemory, clear: list[Sentence]) -> list[Row]:
    """Say sentences with unambiguous prompts again, with the sentence in mind and without."""
    asked, rows = clear[: config.asked], []
    for split, recall in (("in mind", True), ("not in mind", False)):
        said = [memory.say(sentence[:PROMPT], recall=recall) for sentence in asked]
        whole = [tuple(words) == s[PROMPT:] for words, s in zip(said, asked, strict=True)]
        rows.append((0, split, "accuracy", 100 * _right(said, asked)))
        rows.append((0, split, "whole_sentences_share", 100 * float(np.mean(whole))))
    return rows


def new_prompts(
    memory: SentenceMemory, sentences: list[Sentence], rest: list[Sentence], most: int, generator
) -> list[Sentence]:
    """Draw sentences that the memory has not met, nor their prompts, but can continue."""
    met = {sentence[:PROMPT] for sentence in sentences}
    new = [s for s in rest if s[:PROMPT] not in met and memory.knows(s[:PROMPT])]
    return [new[i] for i in generator.permutation(len(new))[:most]]


def _free(
    config: Config,
    memory: SentenceMemory,
    sentences: list[Sentence],
    rest: list[Sentence],
    generator,
) -> list[Row]:
    """Continue new prompts, and see how many of the word triples occur in text not met."""
    new = new_prompts(memory, sentences, rest, config.asked, generator)
    said = [tuple(memory.say(s[:PROMPT], generator)) for s in new]
    left_out = set(new)
    known = {triple for s in rest if s not in left_out for triple in _triples(s)}
    spoken = {
        "free": said,
        "real": [s[PROMPT:] for s in new],
        "shuffled": [tuple(generator.permutation(s[PROMPT:])) for s in new],
    }
    rows = []
    for name, rests in spoken.items():
        whole = [(*s[PROMPT - 2 : PROMPT], *words) for s, words in zip(new, rests, strict=True)]
        attested = [triple in known for words in whole for triple in _triples(words)]
        rows.append((0, name, "attested_share", 100 * float(np.mean(attested))))
    endings = {s[place:] for s in sentences for place in range(PROMPT, len(s))}
    rows.append(
        (0, "free", "ended_share", 100 * float(np.mean([w[-1] == corpus.END for w in said])))
    )
    rows.append((0, "free", "copied_share", 100 * float(np.mean([w in endings for w in said]))))
    return rows


def _triples(words: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return list(zip(words, words[1:], words[2:], strict=False))


def reasons(config: Config, seed: int, sentence: int = 0) -> pd.DataFrame:
    """Teach a brain again and return why it says the word after a prompt.

    Parameters
    ----------
    config : Config
        Of task routing.
    seed : int
    sentence : int
        Which of the twenty.

    Returns
    -------
    DataFrame
        Paths that led to the word, in words, with their contributions to its activation.
    """
    router, _ = taught_router(dataclasses.replace(config, evaluations=1), seed)
    prompt = TWENTY[sentence][:PROMPT]
    return router.explain(prompt, router.guess(prompt)).round({"contribution": 3})


def examples(config: Config, seed: int, count: int = 5) -> pd.DataFrame:
    """Teach a brain again and return some of what it says.

    Parameters
    ----------
    config : Config
        Of task routing or memory.
    seed : int
    count : int
        Sentences of each kind.

    Returns
    -------
    DataFrame
        Texts: prompt, what the brain says, and what really follows.
    """
    if config.task == "routing":
        router, _ = taught_router(dataclasses.replace(config, evaluations=1), seed)
        asked = list(TWENTY[:count])
        said = [router.words(router.say(s[:PROMPT], router.guess(s[:PROMPT]))) for s in asked]
    else:
        sentences, rest = real_sentences(config, seed)
        memory = SentenceMemory(sentences, seed)
        generator = np.random.default_rng([seed, 4])
        asked = new_prompts(memory, sentences, rest, count, generator)
        said = [memory.say(s[:PROMPT], generator) for s in asked]
    lines = [
        {"prompt": " ".join(s[:PROMPT]), "the brain": " ".join(w), "text": " ".join(s[PROMPT:])}
        for s, w in zip(asked, said, strict=True)
    ]
    return pd.DataFrame(lines).set_index("prompt")
