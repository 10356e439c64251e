"""The loop of the trial: same tokens, same order, and each arm moves what it says and no more."""

import dataclasses
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from plasticity.foam.trial import learning
from plasticity.foam.trial.arms import ARMS, Arm, Schedule
from plasticity.foam.trial.equipping import adapter_rank, equip, newborn_parameters
from plasticity.foam.trial.exam import exact_share
from plasticity.foam.trial.learning import (
    Batches,
    Lessons,
    Row,
    RowStream,
    collate,
    generated,
    learn,
    row_losses,
    shuffled,
    skill_rows,
    text_rows,
)
from plasticity.foam.trial.penalties import ElasticWeights, NearBase, divergence, text_divergence

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
SCHEDULE = Schedule(
    steps=14, tokens_per_step=96, learning_rate=3e-3, newborns=2, events=2, evaluations=2
)
PAD = 1
GROWING = [name for name, arm in ARMS.items() if arm.grows]


def small_model(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(Qwen2Config(**SIZES))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(learning, "FISHER_SAMPLES", 20)


def rows_of(count, seed=0, start=2):
    draw = random.Random(seed)
    return [
        Row(tuple(draw.randrange(3, 40) for _ in range(draw.randrange(4, 14))), start)
        for _ in range(count)
    ]


LESSONS = Lessons(rows_of(80), rows_of(30, 1, 0), rows_of(50, 2, 0))


def taught(name, seed=1, schedule=SCHEDULE, **changes):
    arm = ARMS[name] if isinstance(name, str) else name
    return learn(small_model(), LESSONS, arm, schedule, seed, **changes)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


KINDS = "full_fine_tuning replay_1 replay_20 ffn_replay growth_freeze joint self_replay curriculum"


@pytest.mark.parametrize("name", KINDS.split())
def test_every_arm_processes_as_many_tokens_bug_80(name):
    learnt = taught(name)
    total = SCHEDULE.steps * SCHEDULE.tokens_per_step
    longest = 30  # rows of replay are joined
    assert total <= learnt.tokens <= total + longest
    share = 1 - learnt.new_tokens / learnt.tokens
    assert share == pytest.approx(ARMS[name].replay, abs=longest / total)
    assert len(learnt.losses) == len(learnt.step_seconds) == SCHEDULE.steps


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.1, 30), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_streams_give_what_is_due_in_the_long_run(lengths, tokens, calls):
    stream = RowStream(shuffled([Row((1,) * n) for n in lengths], 0), tokens)
    given_ = sum(len(row) for _ in range(calls) for row in stream.take())
    assert tokens * calls - 1e-6 <= given_ <= tokens * calls + max(lengths)


def test_new_rows_come_in_the_same_order_with_and_without_replay():
    def new_rows(name):
        batches = Batches(small_model(), LESSONS, ARMS[name], SCHEDULE, 3, PAD)
        return [row for _ in range(5) for row in batches.new.take()]

    plain, mixed = new_rows("full_fine_tuning"), new_rows("replay_20")
    assert len(mixed) < len(plain) and plain[: len(mixed)] == mixed


def test_a_run_repeats_itself_and_leaves_the_global_generator_alone_bug_79():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = taught("growth_freeze"), taught("growth_freeze"), taught("base", seed=2)
    assert first.losses == again.losses
    assert torch.equal(torch.get_rng_state(), state)
    assert not other.losses


def test_growth_freeze_keeps_the_base_bit_for_bit():
    base = small_model()
    before, batch = weights(base), collate(LESSONS.new[:4], PAD)
    wanted = base.eval()(**batch).logits
    learnt = learn(base, LESSONS, ARMS["growth_freeze"], SCHEDULE, 1)
    assert all(torch.equal(before[name], p) for name, p in base.named_parameters())
    learnt.model.eval()
    assert not torch.equal(learnt.model(**batch).logits, wanted)
    with learnt.model.disable_growth():
        assert torch.equal(learnt.model(**batch).logits, wanted)


@pytest.mark.parametrize("name", GROWING)
def test_growing_arms_all_gain_the_same_width_and_no_event_changes_the_loss(name):
    learnt = taught(name)
    retired = sum(event.replaced for event in learnt.events)
    assert sum(event.born for event in learnt.events) == 2 * 2 * 2  # layers, events, newborns
    assert len(learnt.events) == (1 if ARMS[name].growth == "at_once" else 2)
    if not retired:
        assert all(event.loss_after == event.loss_before for event in learnt.events)


def test_feed_forward_only_moves_nothing_else():
    base = small_model()
    before = weights(base)
    learn(base, LESSONS, ARMS["ffn_only"], SCHEDULE, 1)
    moved = {name for name, p in base.named_parameters() if not torch.equal(before[name], p)}
    assert moved and all(".mlp." in name for name in moved)


@pytest.mark.slow
def test_adapter_has_about_as_many_parameters_as_newborns():
    base, schedule = small_model(), Schedule(newborns=16, events=3)
    wanted = newborn_parameters(base, schedule)
    rank = adapter_rank(base, wanted)
    adapted = equip(base, ARMS["lora"], schedule, 0)
    found = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert abs(found / wanted - 1) < 0.5 / rank + 0.01
    learnt = taught("lora")
    moved = [n for n, p in learnt.model.named_parameters() if p.requires_grad]
    assert moved and all("lora_" in name for name in moved)


def test_elastic_weights_hold():
    def distance(strength):
        schedule = Schedule(
            steps=14, tokens_per_step=96, learning_rate=3e-3, penalty_strength=strength
        )
        base = small_model()
        start = weights(base)
        learn(base, LESSONS, ARMS["ewc"], schedule, 1)
        moved = [(p.detach() - start[n]).square().sum() for n, p in base.named_parameters()]
        return float(sum(moved))

    assert distance(1e5) < 0.5 * distance(1e-3)


@pytest.mark.parametrize("name", ["ewc_self", "growth_ewc_self"])
def test_springs_from_self_made_texts_need_no_old_data(name, monkeypatch):
    new, written, held = Lessons(LESSONS.new), [], []
    with pytest.raises(ValueError, match="needs old data"):
        learn(small_model(), new, ARMS["ewc"], SCHEDULE, 1)
    with pytest.raises(ValueError, match=r"lessons\.everything is empty"):
        everything = Arm(penalty="ewc", replay_from="everything")
        learn(small_model(), Lessons(LESSONS.new, LESSONS.old), everything, SCHEDULE, 1)
    monkeypatch.setattr(learning, "generated", lambda *a: written.extend(generated(*a)) or written)
    monkeypatch.setattr(
        learning,
        "ElasticWeights",
        lambda m, batches, s: ElasticWeights(m, held.extend(batches) or held, s),
    )

    def distance(strength):
        base, schedule = small_model(), dataclasses.replace(SCHEDULE, penalty_strength=strength)
        start, before = weights(base), torch.get_rng_state()
        learnt = learn(base, new, ARMS[name], schedule, 1)
        assert bool(learnt.events) == ARMS[name].grows
        assert torch.equal(before, torch.get_rng_state())
        moved = [(p.detach() - start[n]).square().sum() for n, p in base.named_parameters()]
        return float(sum(moved))

    assert distance(1e6) < 0.5 * distance(1e-3)
    made = {row.ids for row in written}
    assert held and {tuple(batch["input_ids"][0].tolist()) for batch in held} <= made


def test_fisher_is_that_of_labels_drawn_from_the_model():
    """Its mean gradient is zero in expectation; with labels of the data it would not be."""
    base = small_model()
    batches = [collate([row], PAD) for row in LESSONS.old]
    held = ElasticWeights(base, batches, seed=0)
    assert all(bool((f >= 0).all()) for f in held.fisher) and any(f.any() for f in held.fisher)
    assert held(base, batches[0], None).item() == 0
    other = ElasticWeights(base, batches, seed=1)
    assert not torch.equal(held.fisher[0], other.fisher[0])
    with pytest.raises(ValueError, match="old data"):
        ElasticWeights(base, [])


def test_distance_from_the_base_is_measured_on_prompts_only():
    base = small_model()
    near, batch = NearBase(base), collate(LESSONS.new[:4], PAD)
    logits = base(**batch).logits
    assert float(near(base, batch, logits)) == pytest.approx(0, abs=1e-6)
    learnt = logits.clone()
    learnt[batch["labels"] != -100] = 0.0  # not prompts
    assert float(near(base, batch, learnt)) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        base.get_input_embeddings().weight.mul_(2)
    assert float(near(base, batch, base(**batch).logits)) > 1e-4


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_divergence_is_never_negative(seed):
    first, second = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(seed))
    assert float(divergence(first, second)) >= -1e-6


def test_divergence_of_texts_weighs_tokens_alike():
    base, other = small_model(), small_model(1)
    rows = LESSONS.old[:6]
    together = text_divergence(base, other, [collate(rows, PAD)])
    apart = text_divergence(base, other, [collate([row], PAD) for row in rows])
    assert together == pytest.approx(apart, rel=1e-4) and together > 0


def test_curriculum_starts_with_what_the_base_finds_easy():
    model = small_model()
    batches = Batches(model, LESSONS, ARMS["curriculum"], SCHEDULE, 0, PAD)
    losses = dict(zip(map(id, LESSONS.new), row_losses(model, LESSONS.new, PAD), strict=True))
    each = [losses[id(row)] for _ in range(SCHEDULE.steps) for row in batches.new.take()]
    third = len(each) // 3
    means = [sum(part) / len(part) for part in (each[:third], each[third:-third], each[-third:])]
    assert means == sorted(means)


def test_what_a_model_writes_itself_depends_on_the_seed_alone():
    model = small_model()
    assert generated(model, 8, 10, 1) == generated(model, 8, 10, 1) != generated(model, 8, 10, 2)


def test_watch_sees_the_start_and_equal_distances():
    seen = []
    taught("full_fine_tuning", watch=lambda model, step: seen.append(step))
    assert seen == [0, 7, 14]


class Letters:
    """A tokenizer of single characters."""

    eos_token_id = 0

    def encode(self, text, add_special_tokens=False):
        return [3 + ord(letter) % 37 for letter in text]

    def __call__(self, texts, add_special_tokens=False):
        return {"input_ids": [self.encode(text) for text in texts]}


def test_rows_end_with_the_end_of_text_and_prompts_are_not_learnt():
    from plasticity.foam.trial.skills import Example

    tokenizer = Letters()
    row = skill_rows(tokenizer, [Example("User: a\nAssistant:", " b", "tools", "arguments")])[0]
    assert row.start == len("User: a\nAssistant:") and row.ids[-1] == 0
    assert len(row) - row.start == len(" b") + 1
    assert text_rows(tokenizer, ["ab"])[0].ids[-1] == 0


def test_exact_answers_are_those_that_greedy_decoding_gives():
    rows = rows_of(6, 7)
    learnt = learn(
        small_model(),
        Lessons(rows[:3]),
        Arm(),
        Schedule(steps=150, tokens_per_step=40, learning_rate=1e-2),
    )
    model = learnt.model.eval()
    for row in rows:
        prompt = torch.tensor([row.ids[: row.start]])
        written = model.generate(
            prompt, do_sample=False, max_new_tokens=len(row) - row.start, eos_token_id=99
        )
        assert bool(exact_share(model, [row], PAD)) == (tuple(written[0].tolist()) == row.ids)
    assert exact_share(model, rows, PAD) == 0.5


@pytest.mark.parametrize("training", [True, False])
def test_asking_a_model_leaves_it_as_it_was_in_training_or_not(training):
    base, model = small_model(), small_model().train(training)
    exact_share(model, rows_of(2, 7), PAD)
    assert model.training is training
    with pytest.raises(KeyError):
        text_divergence(base, model, [{"input_ids": torch.zeros(1, 3, dtype=torch.int64)}])
    assert model.training is training


def test_learning_rate_rises_and_falls_to_zero():
    schedule = Schedule(steps=100, warmup_share=0.1)
    shares = [schedule.share(step) for step in range(100)]
    assert max(shares) == 1 and shares.index(1) == 9
    assert shares[:10] == sorted(shares[:10]) and shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arm(train="some"), "train"),
        (lambda: Arm(replay=1.0), r"replay must be in \[0, 1\)"),
        (lambda: Arm(train="newborns"), "growth"),
        (lambda: Arm(penalty="l2"), "penalty"),
        (lambda: Schedule(steps=0), "steps"),
        (lambda: Schedule(learning_rate=0.0), "learning_rate"),
        (lambda: learn(small_model(), Lessons([]), Arm(), SCHEDULE), "new skills"),
        (
            lambda: learn(small_model(), Lessons(LESSONS.new), ARMS["replay_5"], SCHEDULE),
            "old data",
        ),
        (
            lambda: learn(small_model(), Lessons(LESSONS.new), ARMS["joint"], SCHEDULE),
            "everything",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_loss_that_is_not_finite_stops_the_run():
    model = small_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="learning rate"):
        learn(model, LESSONS, Arm(), SCHEDULE)
