import numpy as np
import pandas as pd
import pytest
import torch

from plasticity.foam.trial import language, pretraining, probes, scoring, skills, world
from plasticity.foam.trial.probes import MultipleChoice

WORLD = world.build_world(seed=2, entities=32)


@pytest.fixture(scope="module")
def tokenizer():
    return language.train_tokenizer(world.pretraining_texts(WORLD, 3000), 400)


@pytest.fixture(scope="module")
def model(tokenizer):
    """A model of weights so large that it says something else everywhere."""
    made = language.build_model("XS", len(tokenizer))
    for parameter in made.parameters():
        if parameter.dim() > 1:
            parameter.data *= 6
    return made


def plain_scores(model, tokenizer, item: MultipleChoice) -> np.ndarray:
    """Score the choices of one item, one text at a time and without padding."""
    sums = []
    for choice in item.choices:
        context, continuation = scoring.encode_pair(tokenizer, item.prompt, f" {choice}")
        ids = torch.tensor([context + continuation])
        with torch.no_grad():
            logs = model(ids).logits[0].log_softmax(-1)
        steps = range(len(context), ids.shape[1])
        sums.append(sum(float(logs[i - 1, ids[0, i]]) for i in steps))
    return np.array(sums)


def test_batches_score_as_single_texts_do_bug_76(model, tokenizer):
    items = [
        *probes.fact_questions(WORLD, "replayed")[:20],
        *probes.cloze_questions(world.stories(WORLD, 10, 7)),
        *probes.grammar_questions(WORLD)[:10],
        MultipleChoice("", ("Kalo went home", "The cat"), 1, "empty", "0"),
        MultipleChoice("The pet of", ("Kalo is a cat", "Kalo"), 0, "long", "0"),
    ]
    found = scoring.score_choices(model, tokenizer, items, batch_size=7)
    for item, row in zip(items, found.itertuples(), strict=True):
        sums = plain_scores(model, tokenizer, item)
        norms = sums / [len(choice) for choice in item.choices]
        assert row.correct == (sums.argmax() == item.answer)
        assert row.correct_norm == (norms.argmax() == item.answer)
        others = np.delete(sums, item.answer).max()
        assert row.margin == pytest.approx(sums[item.answer] - others, abs=1e-4)


def test_an_empty_choice_is_named(model, tokenizer):
    items = [MultipleChoice("Kalo is", choices, 0, "empty", "0") for choices in ("ab", ("a", ""))]
    with pytest.raises(ValueError, match=r"choices of item 1 are \('a', ''\); allowed: no empty"):
        scoring.score_choices(model, tokenizer, items)


def test_choices_share_their_prompt_and_see_no_other(model, tokenizer):
    """The work grows by the choices' tokens, and a choice scores the same whatever the others."""
    choices = ("Kalo is a cat", "a cat of Kalo", "Kalo")
    read = []

    def note(module, arguments, keywords):
        read.append(keywords["input_ids"].numel())

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    item = MultipleChoice("The pet of", choices, 0, "long", "0")
    margin = scoring.score_choices(model, tokenizer, [item])["margin"].iloc[0]
    handle.remove()
    lengths = [len(scoring.encode_pair(tokenizer, item.prompt, f" {c}")[1]) for c in choices]
    context = len(scoring.encode_pair(tokenizer, item.prompt, " x")[0])
    assert read == [context + sum(lengths) - len(choices)]
    pairs = [
        scoring.score_choices(
            model, tokenizer, [MultipleChoice("The pet of", (choices[0], other), 0, "two", "0")]
        )["margin"].iloc[0]
        for other in choices[1:]
    ]
    assert margin == pytest.approx(min(pairs), abs=1e-4)


def test_a_context_gives_its_last_spaces_to_the_continuation_bug_75(tokenizer):
    bare = scoring.encode_pair(tokenizer, "The pet of Kalo is", " cat")
    spaced = scoring.encode_pair(tokenizer, "The pet of Kalo is ", "cat")
    assert bare == spaced
    assert bare[0] + bare[1] == tokenizer.encode("The pet of Kalo is cat")
    assert scoring.encode_pair(tokenizer, "", "cat")[0] == [tokenizer.eos_token_id]


class Favourite(torch.nn.Module):
    """A model that gives every token the same score, save one."""

    def __init__(self, size: int, favourite: int, bonus: float):
        super().__init__()
        self.config = type("Config", (), {"max_position_embeddings": 64})()
        self.scores = torch.nn.Parameter(torch.zeros(size))
        self.scores.data[favourite] = bonus

    def forward(self, input_ids, **others):
        shape = (*input_ids.shape, len(self.scores))
        return type("Output", (), {"logits": self.scores.expand(shape)})()


def test_accuracy_by_characters_counts_characters_not_tokens_bug_74(tokenizer):
    long, short = ".................................", "!"
    items = [MultipleChoice("x", (short, long), 1, "made", "0")]
    favourite = tokenizer.encode(f" {short}")[0]
    row = scoring.score_choices(Favourite(len(tokenizer), favourite, 1.0), tokenizer, items).iloc[0]
    sums = [len(tokenizer.encode(f" {choice}")) for choice in (short, long)]
    assert not row.correct  # one token of a high score beats many
    assert row.correct_norm == (sums[1] / len(long) < sums[0] / len(short))


def test_long_contexts_are_cut_on_the_left(tokenizer):
    items = [MultipleChoice("cat " * 300, ("Kalo", "cat"), 0, "made", "0")]
    found = scoring.score_choices(Favourite(len(tokenizer), 5, 1.0), tokenizer, items)
    assert np.isfinite(found["margin"]).all()


def test_answers_do_not_depend_on_the_batch(model, tokenizer):
    prompts = [
        example.prompt
        for skill in skills.SKILLS
        for example in skills.skill_examples(WORLD, skill, "test")[:8]
    ]
    together = scoring.generate(model, tokenizer, prompts, 20)
    apart = scoring.generate(model, tokenizer, prompts, 20, batch_size=1)
    assert together == apart
    ids = torch.tensor([tokenizer.encode(prompts[0])])
    plain = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False
    )
    written = tokenizer.decode(plain[0, ids.shape[1] :].tolist())
    assert together[0] == written.split(language.END)[0]
    assert any(len(set(text)) > 3 for text in together)


def test_scoring_drops_nothing_out_and_leaves_a_model_in_its_mode_bug_77(model, tokenizer):
    def scored():
        questions = probes.fact_questions(WORLD, "replayed")[:9]
        return (
            scoring.generate(model, tokenizer, ["User:"], 4),
            scoring.score_choices(model, tokenizer, questions)["margin"].tolist(),
            scoring.text_loss(model, tokenizer, ["The cat."]),
        )

    plain = scored()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    model.train()
    assert scored() == plain
    assert model.training
    model.eval()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.0


def test_skills_are_scored_item_by_item(model, tokenizer):
    examples = skills.skill_examples(WORLD, "tools", "test")[:12]
    found = scoring.score_skill(model, tokenizer, examples, max_new_tokens=8)
    assert list(found["item"]) == list(range(12))
    assert list(found["kind"]) == [example.kind for example in examples]
    for row, example in zip(found.itertuples(), examples, strict=True):
        assert row.correct == skills.judge(example, row.generated)["correct"]


def test_loss_of_text_is_the_mean_over_its_tokens(model, tokenizer):
    text = "The pet of Kalo is cat."
    ids = torch.tensor([[0, *tokenizer.encode(text), 0]])
    with torch.no_grad():
        wanted = float(model(ids, labels=ids).loss)
    assert scoring.text_loss(model, tokenizer, [text]) == pytest.approx(wanted, rel=1e-5)


def test_pretraining_is_reproducible_and_lowers_the_loss(tokenizer):
    texts, curves, weights = world.pretraining_texts(WORLD, 300), [], []
    for _ in range(2):
        made = language.build_model("XS", len(tokenizer))
        curve = pretraining.pretrain(
            made,
            tokenizer,
            texts,
            40_000,
            length=64,
            evaluations=4,
            evaluate=lambda made=made: {"held_out": float(made.training)},
        )
        curves.append(curve)
        weights.append(made.get_input_embeddings().weight)
    pd.testing.assert_frame_equal(*curves)
    assert weights[0].equal(weights[1])
    assert curves[0]["loss"].iloc[-1] < curves[0]["loss"].iloc[0] - 0.5
    assert curves[0]["tokens"].iloc[-1] >= 40_000 and len(curves[0]) == 4


def test_every_block_is_read_before_any_is_read_again():
    ids = torch.arange(10)[:, None]
    batches = pretraining._shuffled(ids, 4, seed=0)
    read = torch.cat([next(batches) for _ in range(5)]).flatten().tolist()
    assert sorted(read[:10]) == list(range(10)) and sorted(read[10:]) == list(range(10))


def test_a_loss_that_is_not_finite_stops_the_training(tokenizer):
    made = language.build_model("XS", len(tokenizer))
    made.get_input_embeddings().weight.data[:] = float("nan")
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        pretraining.pretrain(made, tokenizer, ["The cat."] * 50, 5000)
