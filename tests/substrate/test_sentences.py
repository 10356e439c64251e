"""Sentences: cut out of text, recognised, learnt from reward, recalled, told as facts."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.companion import metrics, profiles, statistics
from plasticity.experiments import substrate_sentences
from plasticity.findings import substrate_sentences as findings
from plasticity.plots import substrate_sentences as plots
from plasticity.substrate import Brain
from plasticity.substrate.domains.sentences import corpus, cues, rewards
from plasticity.substrate.domains.sentences.corpus import END, PROMPT, SHAPE, TWENTY
from plasticity.substrate.domains.sentences.memory import SentenceMemory
from plasticity.substrate.domains.sentences.rewards import Training
from plasticity.substrate.domains.sentences.routing import Router
from plasticity.substrate.domains.sentences.tiny import GENERATORS, TinyModel

WORDS = st.sampled_from(["a", "the", "dog", "cat", "ran", "sat", "up", "here"])
SENTENCES = st.lists(
    st.lists(WORDS, min_size=4, max_size=8).map(lambda words: (*words, END)),
    min_size=1,
    max_size=12,
    unique=True,
)
SEEDS = st.integers(0, 1000)
FEW = settings(max_examples=15, deadline=None)


def all_clear(sentences):
    return [s for s, n in zip(sentences, corpus.sharing(sentences), strict=True) if n == 1]


# ---------------------------------------------------------------- corpus


def test_twenty_sentences_share_words_but_no_prompt():
    assert len(set(TWENTY)) == 20
    assert set(corpus.sharing(TWENTY)) == {1}
    kinds = corpus.classes(TWENTY)
    words = [word for members in kinds.values() for word in members]
    assert len(words) == len(set(words)), "a word is in one class only"
    adjectives = [word for sentence in TWENTY for word in sentence[1:PROMPT]]
    assert min(adjectives.count(word) for word in set(adjectives)) >= 1
    assert sum(adjectives.count(word) > 1 for word in adjectives) > 30, "words are shared"


def test_sentences_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="'a dog ran' has 3 words; allowed: 9"):
        corpus.classes([("a", "dog", "ran")])


def test_only_plain_sentences_are_cut_out():
    text = 'The old dog ran home again. "No!" said he, and left us there. He had 3 dogs in all.'
    assert corpus.find_sentences(text) == [("the", "old", "dog", "ran", "home", "again", END)]


@given(st.text(alphabet="ABab ,.!?'\n\"3-", max_size=200))
@FEW
def test_found_sentences_are_lower_case_words_and_an_end(text):
    for sentence in corpus.find_sentences(text, shortest=1, longest=5):
        assert sentence[-1] == END
        assert 1 <= len(sentence) - 1 <= 5
        assert all(word.replace("'", "").isalpha() and word.islower() for word in sentence[:-1])


@given(SEEDS, st.integers(1, 3))
@FEW
def test_draw_splits_what_there_is(seed, count):
    texts = ["The dog ran to the house. The cat sat on the roof. The dog ran to the house."] * 2
    texts.append("My cat ran to the old house.")
    drawn, rest = corpus.draw(texts, count, np.random.default_rng(seed))
    assert len(drawn) == count
    assert len(set(drawn + rest)) == len(drawn) + len(rest) == 3


def test_draw_says_how_many_there_are():
    with pytest.raises(ValueError, match="count is 5; the texts hold 1 different"):
        corpus.draw(["The dog ran to the house."], 5, np.random.default_rng(0))


# ---------------------------------------------------------------- recognition


@given(SENTENCES)
@FEW
def test_a_prompt_activates_each_sentence_by_the_words_they_share(sentences):
    found = cues.Cues(Brain())
    own = found.meet(sentences)
    for place, sentence in enumerate(sentences):
        prompt = sentence[:PROMPT]
        shared = [sum(a == b for a, b in zip(prompt, s, strict=False)) for s in sentences]
        np.testing.assert_array_equal(found.evidence(prompt), shared)
        whole = [i for i, s in enumerate(sentences) if s[:PROMPT] == prompt]
        assert found.recognise(prompt).tolist() == own[whole].tolist()
        assert found.guess(prompt) == whole[0] <= place


def test_a_prompt_of_unknown_words_is_nobodys():
    found = cues.Cues(Brain())
    found.meet(TWENTY)
    assert found.guess(("x", "y", None)) == -1
    assert len(found.recognise(("the", "small", None))) == 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=6), min_size=1, max_size=4))
@FEW
def test_posterior_is_a_distribution_that_ranks_like_the_evidence(rows):
    for row in rows:
        shares = cues.posterior(np.array([row], float), 3.0)[0]
        assert shares.sum() == pytest.approx(1)
        assert shares[np.argmax(row)] == pytest.approx(shares.max())


def test_calibration_error_is_the_gap_in_each_bin():
    confidence, right = np.array([0.9, 0.9, 0.2, 0.2]), np.array([True, True, False, True])
    assert cues.calibration_error(confidence, right) == pytest.approx((0.1 + 0.3) / 2)
    assert cues.calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0


# ---------------------------------------------------------------- reward


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
@FEW
def test_plateau_credit_adds_neighbours_by_distance(paid):
    expected = []
    for here in range(len(paid)):
        share = 0.0
        for there, reward in enumerate(paid):
            decay = rewards.FORWARD if there >= here else rewards.BACKWARD
            share += decay ** abs(there - here) * reward
        expected.append(share)
    np.testing.assert_allclose(rewards.plateau_credit(paid), expected, atol=1e-12)


@given(st.integers(0, 300), st.integers(1, 6), st.integers(1, 20))
@FEW
def test_a_curriculum_spends_the_same_episodes_and_only_adds_sentences(episodes, stages, count):
    listed = list(Training(episodes, stages).schedule(count))
    assert len(listed) == episodes
    assert all(0.02 <= explore <= 0.4 for _, explore in listed)
    newest = np.maximum.accumulate([place for place, _ in listed] or [0])
    assert newest.max() < count
    if stages == 1:
        tries = np.bincount([place for place, _ in listed], minlength=count)
        assert np.ptp(tries) <= 1


@pytest.fixture(scope="module")
def router():
    return Router(TWENTY, seed=3, binding="shared")


@given(SEEDS, st.integers(0, 19), st.floats(0, 1))
@FEW
def test_every_word_has_the_class_that_is_asked_for(router, seed, place, explore):
    kinds = corpus.classes(TWENTY)
    steps = router.say(TWENTY[place][:PROMPT], place, explore, np.random.default_rng(seed))
    for word, kind in zip(router.words(steps), SHAPE[PROMPT:], strict=True):
        assert word in kinds[kind]


@given(SEEDS, st.sampled_from(["none", "shared", "coincidence"]), st.sampled_from([1.0, -0.5]))
@FEW
def test_learning_moves_what_a_word_promises_towards_its_reward(seed, binding, reward):
    own = Router(TWENTY, seed, binding)
    [step] = own.say(TWENTY[0][:PROMPT], 0)[:1]

    def promised():
        weights = own.brain.weights(step.sources, step.word, "routes")
        return float((step.strengths * np.nan_to_num(weights)).sum())

    gaps = [abs(reward - promised())]
    for _ in range(3):
        own.learn([step], [reward], rate=0.5)
        gaps.append(abs(reward - promised()))
    assert (np.diff(gaps) < 0).all()
    assert (np.abs(own.brain.edges("routes")["weight"]) <= 1).all()


def test_what_did_not_fire_or_earned_nothing_learns_nothing():
    sparse = Router(TWENTY, seed=0, sparsity=1)
    generator = np.random.default_rng(0)
    steps = [s for i in range(20) for s in sparse.say(TWENTY[i][:PROMPT], None, 1.0, generator)]
    silent = [step for step in steps if not step.heard]
    assert silent, "random words are mostly not the strongest of their class"
    sparse.learn(silent, np.ones(len(silent)))
    sparse.learn(steps, np.zeros(len(steps)))
    assert len(sparse.brain.edges("routes")) == 0


@pytest.mark.parametrize("binding", ["none", "shared", "coincidence"])
def test_the_reasons_for_a_word_add_up_to_its_activation(binding):
    own = taught(0, binding, 40)
    for place, sentence in enumerate(TWENTY[:4]):
        [step, *_] = own.say(sentence[:PROMPT], place)
        weights = np.nan_to_num(own.brain.weights(step.sources, step.word, "routes"))
        promised = float((step.strengths * weights).sum())
        reasons = own.explain(sentence[:PROMPT], place)
        assert own.brain.name(step.word) in reasons["path"].iloc[0]
        added = reasons["contribution"].sum() - own.brain.get(step.word, "bias")[0]
        assert added == pytest.approx(16 + promised, abs=1e-4)


def test_unknown_binding_is_refused():
    with pytest.raises(ValueError, match="binding is 'glue'; allowed: none, shared, coincidence"):
        Router(TWENTY, 0, binding="glue")


def taught(seed, binding, episodes=120, **training):
    own = Router(TWENTY[:4], seed, binding)
    list(rewards.train(own, Training(episodes, **training), seed))
    return own


def test_same_seed_same_weights_and_other_seed_others():
    first, again, other = (taught(s, "shared", 30, replay=1).brain.edges() for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_reward_teaches_and_coincidence_learns_all_by_itself():
    cold = rewards.accuracy(Router(TWENTY[:4], 0, "coincidence"))
    warm = taught(0, "coincidence")
    assert cold[0] < 60
    assert rewards.accuracy(warm) == rewards.accuracy(warm, given=False) == (100, 100)


def test_pay_at_the_end_reaches_only_the_last_word_unless_spread():
    for plateau, sooner in ((False, False), (True, True)):
        own = taught(0, "none", 8, at_end=True, plateau=plateau)
        learnt = set(own.brain.edges("routes")["source"].tolist())
        assert (int(own.places[0]) in learnt) == sooner
        assert int(own.places[-1]) in learnt


# ---------------------------------------------------------------- recall


@given(SENTENCES, SEEDS)
@FEW
def test_whatever_is_said_follows_pairs_that_were_met_and_ends(sentences, seed):
    memory = SentenceMemory(sentences, seed)
    met = {pair for s in sentences for pair in itertools.pairwise(s)}
    for sentence in sentences:
        for generator in (None, np.random.default_rng(seed)):
            said = (*sentence[:PROMPT], *memory.say(sentence[:PROMPT], generator))
            assert set(itertools.pairwise(said[PROMPT - 1 :])) <= met
            assert said[-1] == END or len(said) == 30


def test_clear_prompts_bring_their_sentence_back_word_for_word():
    sentences = [(*words, END) for words in TWENTY]
    memory = SentenceMemory(sentences, 0)
    for sentence in sentences:
        assert tuple(memory.say(sentence[:PROMPT])) == sentence[PROMPT:]
    without = [tuple(memory.say(s[:PROMPT], recall=False)) == s[PROMPT:] for s in sentences]
    assert sum(without) < len(sentences), "pairs alone do not tell sentences apart"


def test_drawing_words_depends_on_the_generator_alone():
    memory = SentenceMemory([(*words, END) for words in TWENTY], 0)
    draws = [
        memory.say(("the", "big", "dog"), np.random.default_rng(seed), recall=False)
        for seed in (1, 1, 2, 3, 4)
    ]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1


# ---------------------------------------------------------------- facts


@pytest.mark.parametrize("place", range(len(TWENTY)))
def test_a_single_fact_is_said_by_all_three_generators(place):
    model = TinyModel(TWENTY[place : place + 1], seed=0)
    for generator in GENERATORS:
        assert tuple(model.say(TWENTY[place][:PROMPT], generator)) == TWENTY[place][PROMPT:]


def test_slots_alone_cannot_tell_sentences_apart_and_context_can():
    model = TinyModel(TWENTY[:3], seed=0)
    said = {name: [model.say(s[:PROMPT], name) for s in TWENTY[:3]] for name in GENERATORS}
    assert said["slots"][0] == said["slots"][1] == said["slots"][2]
    assert [tuple(words) for words in said["context"]] == [s[PROMPT:] for s in TWENTY[:3]]
    with pytest.raises(ValueError, match="generator is 'verse'"):
        model.say(TWENTY[0][:PROMPT], "verse")


# ---------------------------------------------------------------- experiment


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    parts = []
    for config in profiles.configs("substrate_sentences", "smoke"):
        for seed in (0, 1):
            found = substrate_sentences.run(config, seed, tmp_path_factory.mktemp("run"), None)
            parts.append(found.assign(variant=config.variant, seed=seed))
    return pd.concat(parts, ignore_index=True)


def test_rows_are_declared_unique_and_in_range(rows):
    assert not rows.duplicated(["variant", "seed", "split", "step", "metric"]).any()
    assert rows["unit"].tolist() == [metrics.metric(name).unit for name in rows["metric"]]
    shares = rows[rows["unit"] == "percent"]["value"]
    assert shares.between(0, 100).all()


def test_claims_find_one_value_a_seed(rows):
    for metric, variant in (
        ("accuracy", "sentence_id"),
        ("sentence_id_accuracy", "sentence_id"),
        ("routing_accuracy", "curriculum_binding"),
        ("routing_accuracy", "curriculum_replay_binding"),
        ("routing_accuracy", "binding"),
        ("plateau_credit_hurts_per_step", "plateau_credit"),
        ("group_sparsity_hurts", "group_sparsity"),
        ("three_generators_work", "tiny"),
        ("thousand_sentences_identified", "thousand"),
        ("generates_without_given_classes", "thousand"),
    ):
        assert len(statistics.values_by_seed(rows, metric, variant)) == 2


def test_the_page_says_and_draws_what_the_rows_hold(rows):
    text = "\n".join(say(rows) for say in (findings.story, findings.negatives, findings.thousand))
    bound = statistics.values_by_seed(rows, "routing_accuracy", "curriculum_binding").mean()
    assert f"{bound:.1f}" in text
    assert len(findings.story_table(rows, plots.LABELS)) == len(plots.LABELS)
    assert len(findings.tiny_table(rows)) == len(GENERATORS)
    summary = statistics.summarise(rows)
    figure = plots.story(summary, substrate_sentences.SOURCE_STORY)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights[list(plots.LABELS).index("curriculum_binding")] == pytest.approx(bound)
    one = rows[rows["seed"] == 0]
    assert "one seed, so no interval" in findings.story(one)
