import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.foam.trial import language, probes, skills, texts, world
from plasticity.foam.trial.words import ATTRIBUTES, NOUNS, VERBS


@pytest.fixture(scope="module")
def small():
    return world.build_world(seed=3, entities=64)


def test_a_world_is_the_same_for_the_same_seed_and_another_for_another(small):
    assert world.build_world(seed=3, entities=64) == small
    assert world.build_world(seed=4, entities=64).names != small.names


def test_texts_are_the_same_for_the_same_seed(small):
    assert world.pretraining_texts(small, 200, 1) == world.pretraining_texts(small, 200, 1)
    assert world.pretraining_texts(small, 200, 1) != world.pretraining_texts(small, 200, 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 60))
def test_names_are_unique_and_values_equally_frequent_in_each_half(seed, half):
    made = world.build_world(seed=seed, entities=2 * half)
    assert len(set(made.names)) == 2 * half
    assert not set(made.names) & set(texts.CAPITALS)
    for name in world.HALVES:
        for attribute in ATTRIBUTES:
            counts = Counter(made.value(one, attribute) for one in made.half(name))
            present = [counts[value] for value in ATTRIBUTES[attribute]]
            assert max(present) - min(present) <= 1


@pytest.mark.parametrize("entities", [2, 4096, 33])
def test_a_world_of_a_wrong_size_is_refused(entities):
    with pytest.raises(ValueError, match="entities"):
        world.build_world(entities=entities)


def test_an_unknown_half_is_refused(small):
    with pytest.raises(ValueError, match="replayed, unreplayed"):
        small.half("other")


def _facts_told(told: list[str], made: world.World) -> set[str]:
    """Return the names that stand in one text with an attribute and their value of it."""
    found = set()
    facts = dict(zip(made.names, made.facts, strict=True))
    for text in told:
        words = set(re.findall(r"\w+", text))
        for name in words & facts.keys():
            pairs = zip(ATTRIBUTES, facts[name], strict=True)
            if any({attribute, value} <= words for attribute, value in pairs):
                found.add(name)
    return found


def test_replayed_texts_tell_no_fact_of_the_unreplayed_half(small):
    told = world.fact_texts(small, 2000, half="replayed")
    told += world.pretraining_texts(small, 4000, half="replayed")
    assert _facts_told(told, small) == set(small.half("replayed"))
    assert _facts_told(world.pretraining_texts(small, 4000), small) == set(small.names)


def test_every_person_is_told_of_equally_often(small):
    told = world.fact_texts(small, 10_000)
    counts = Counter(name for text in told for name in small.names if name in text)
    assert min(counts.values()) > 0.8 * max(counts.values())


def test_tokens_of_text_come_back_unchanged(small):
    corpus = world.pretraining_texts(small, 3000)
    tokenizer = language.train_tokenizer(corpus, 512)
    for text in [*corpus[:300], 'odd  spaces\n\n{"a": [1, 2]} MIXEDcase 12ab']:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_name_is_the_same_tokens_in_a_sentence_and_in_json(small):
    tokenizer = language.train_tokenizer(world.pretraining_texts(small, 3000), 512)
    for name in small.names[:10]:
        own = tokenizer.encode(name)
        for text in (f"call {name}.", f'{{"name": "{name}"}}'):
            ids = tokenizer.encode(text)
            assert any(ids[i : i + len(own)] == own for i in range(len(ids)))


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_models_have_the_sizes_of_their_tiers_and_follow_their_seed(architecture):
    counts = {}
    for tier in language.TIERS:
        model = language.build_model(tier, 1024, architecture=architecture)
        embedding = model.get_input_embeddings().weight
        assert model.get_output_embeddings().weight is embedding
        counts[tier] = sum(p.numel() for p in model.parameters()) - embedding.numel()
    assert 0.1e6 < counts["XS"] < 0.2e6 < 0.6e6 < counts["S"] < 1.1e6 < 3e6 < counts["M"] < 6e6
    first, again, other = (
        language.build_model("XS", 128, seed, architecture).get_input_embeddings().weight
        for seed in (0, 0, 1)
    )
    assert first.equal(again) and not first.equal(other)


def test_facts_are_asked_once_with_values_of_their_attribute(small):
    items = [item for half in world.HALVES for item in probes.fact_questions(small, half)]
    assert len(items) == len(small.names) * len(ATTRIBUTES)
    assert len({item.prompt for item in items}) == len(items)
    for item in items:
        attribute = item.prompt.split()[1]
        assert set(item.choices) <= set(ATTRIBUTES[attribute]) and len(set(item.choices)) == 4
        assert item.choices[item.answer] == small.value(item.cluster, attribute)


def test_no_position_and_no_frequency_gives_the_answer_away(small):
    big = world.build_world(entities=256)
    items = [item for half in world.HALVES for item in probes.fact_questions(big, half)]
    positions = Counter(item.answer for item in items)
    assert all(abs(count / len(items) - 0.25) < 0.04 for count in positions.values())
    offered = Counter(choice for item in items for choice in item.choices)
    right = Counter(item.choices[item.answer] for item in items)
    # Whoever always took the choice that is most often right would be at chance.
    guess = [max(item.choices, key=lambda c: right[c] / offered[c]) for item in items]
    hits = sum(g == item.choices[item.answer] for g, item in zip(guess, items, strict=True))
    assert hits / len(items) < 0.33


def test_stories_end_in_what_was_wanted_and_offer_another_thing_of_the_story(small):
    told = world.stories(small, 300, seed=5)
    assert len(set(told)) == 300
    items = probes.cloze_questions(told)
    for story, item in zip(told, items, strict=True):
        right = item.choices[item.answer]
        assert story == f"{item.prompt} {right}." and right in item.prompt
        assert sum(choice in item.prompt.replace(".", "").split() for choice in item.choices) >= 2
    with pytest.raises(ValueError, match="ends in"):
        probes.cloze_questions(["A tale without a thing"])


def test_grammar_is_asked_of_pairs_that_no_text_holds(small):
    items = probes.grammar_questions(small)
    assert len(items) == 1000
    told = " ".join(world.pretraining_texts(small, 5000))
    for noun in NOUNS:
        for verb in VERBS:
            if texts.held_out(noun, verb):
                assert f"The {noun} {verb}s" not in told
                assert f"The {texts.plural(noun)} {verb}." not in told
    assert 0.4 < sum(item.choices[item.answer].endswith("s.") for item in items) / 1000 < 0.6


def test_every_word_of_the_skills_occurs_in_the_texts_of_the_base(small):
    known = _words(" ".join(world.pretraining_texts(small, 20_000)))
    for skill in skills.SKILLS:
        for split in skills.SPLITS:
            for example in skills.skill_examples(small, skill, split, count=500):
                assert not _words(example.prompt + example.response) - known


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))
