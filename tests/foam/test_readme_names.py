"""The reference's README, called as it is written there: names, defaults, results.

Bugs of the specification guarded here: 25 (for the layer), 68 to 73. Bugs 74 to 80 are about
scoring and protocol, not about the library: they belong to the trial's own tests.
"""

import copy
import inspect
import warnings

import pytest
import torch
from foam_toys import toy_batch, toy_model
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import plasticity.foam as foam
from plasticity.foam import (
    CurriculumLearning,
    GrowableCausalLM,
    GrowableLinear,
    GrowableQwen,
    GrowthConfig,
    GrowthSkipped,
    MemoryReplayBuffer,
    attach_optimizer,
)

DEFAULTS = {
    "gradient_percentile": 90.0,
    "max_growth_per_step": 10,
    "growth_cooldown": 200,
    "maturation_age": 500,
    "enable_replacement": False,
}


def test_every_public_name_can_be_had():
    assert all(getattr(foam, name) is not None for name in foam.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'GrowableBert'"):
        _ = foam.GrowableBert


def test_the_five_parameters_have_their_defaults():
    signature = inspect.signature(GrowableLinear).parameters
    assert {name: signature[name].default for name in DEFAULTS} == DEFAULTS
    model = GrowableQwen(toy_model("qwen2"))
    assert {name: getattr(model.growth_config, name) for name in DEFAULTS} == DEFAULTS
    assert model.growth_config.trigger == "always"
    assert model.growth_config.percentile_scope == "layer"
    assert foam.GrowthConfig().trigger == "pressure_ratio"
    called = inspect.signature(GrowableQwen).parameters
    assert called["model_name_or_model"].default == "Qwen/Qwen2.5-1.5B-Instruct"
    assert called["freeze_attention"].default is True


def train(layer, reader, steps, growth=None, check=True):
    """Fit a small function; return the events."""
    optimizer = torch.optim.AdamW([*layer.parameters(), *reader.parameters()], lr=0.01)
    layer.attach_optimizer(optimizer)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    target, events = x.sin() @ torch.ones(6, 2), []
    for _ in range(steps):
        optimizer.zero_grad()
        (reader(layer(x).relu()) - target).square().mean().backward()
        optimizer.step()
        should_grow, source_indices = layer.check_growth()
        if should_grow and check:
            before = reader(layer(x).relu())
            events.append(layer.perform_growth(source_indices))
            assert torch.equal(reader(layer(x).relu()), before)
    return events, optimizer


def linked(**settings):
    torch.manual_seed(0)
    layer, reader = GrowableLinear(6, 20, **settings), GrowableLinear(20, 2)
    layer.link(reader)
    return layer, reader


def test_layer_grows_by_the_rule_of_the_readme():
    layer, reader = linked(growth_cooldown=20)
    events, optimizer = train(layer, reader, 65)
    assert [event["step"] for event in events] == [20, 40, 60]
    assert [event["born"] for event in events] == [2, 2, 2]  # a tenth of 20
    assert {event["init"] for event in events} == {"gradmax"}
    assert layer.out_features == reader.in_features == 26
    assert layer.neuron_age.tolist()[-6:] == [45, 45, 25, 25, 5, 5]
    assert len(layer.gradient_ema) == 26
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in (*layer.parameters(), *reader.parameters())} == moved
    assert all(block.weight.abs().sum() > 0 for block in reader.blocks)


def test_layer_moves_newborns_to_the_mature_group():
    layer, reader = linked(growth_cooldown=5, maturation_age=4)
    _, optimizer = train(layer, reader, 12)
    young = next(g for g in optimizer.param_groups if g.get("growth") == "young")
    mature = next(g for g in optimizer.param_groups if g.get("growth") == "mature")
    assert young["lr"] == 2 * mature["lr"]
    for old, new in (layer.blocks, reader.blocks):  # rows here, the columns that read them there
        assert id(old.weight) in {id(p) for p in mature["params"]}
        assert id(new.weight) in {id(p) for p in young["params"]}


def test_layer_needs_no_call_to_see_that_steps_were_made():
    layer = GrowableLinear(6, 20)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for step in range(1, 4):
        for _ in range(2):  # two micro-batches, one step
            layer(torch.randn(5, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert layer.gradient_ema.min() > 0
        assert int(layer.clock.steps) == step


def test_layer_without_reader_or_optimizer_says_so_bug_25():
    layer = GrowableLinear(6, 20)
    with pytest.warns(UserWarning, match="no consumer is linked"):
        result = layer.perform_growth(torch.tensor([3]))
    assert (result["born"], result["replaced"], result["died"]) == (1, 0, 0)
    assert layer(torch.zeros(1, 6)).shape == (1, 21)
    layer, _ = linked()
    layer.clock.steps += 1
    with pytest.warns(UserWarning, match="attach_optimizer"):
        layer.perform_growth(torch.tensor([3]))
    with pytest.raises(ValueError, match=r"must be in \[0, 21\)"):
        layer.perform_growth(torch.tensor([21]))
    with pytest.raises(TypeError, match="from_linear"):
        layer.link(nn.Linear(21, 2))
    with pytest.raises(ValueError, match="in_features=21"):
        layer.link(GrowableLinear(20, 2))


def test_layer_replaces_what_does_nothing():
    layer, reader = linked(enable_replacement=True, growth_cooldown=10, maturation_age=5)
    with torch.no_grad():
        layer.weight[7] = 0
        layer.bias[7] = -5  # dead behind the ReLU
    events, _ = train(layer, reader, 11)
    assert [event["replaced"] for event in events] == [1]
    assert events[0].layers[""]["retired"] == [7]
    assert not layer.neurons.active[7]
    assert layer.weight[7].abs().sum() == 0 == reader.weight[:, 7].abs().sum()


def test_layer_retires_no_more_than_a_hundredth_and_all_or_nothing():
    settings = {"enable_replacement": True, "growth_cooldown": 10, "maturation_age": 5}
    layer, reader = linked(**settings)
    with torch.no_grad():
        layer.weight[3:8] = 0
        layer.bias[3:8] = -5
    events, _ = train(layer, reader, 11)
    assert [event["replaced"] for event in events] == [1]  # of five that do nothing
    for block in layer.neurons.age, layer.neurons.observations:
        block.fill_(100)
    factored = torch.optim.Adafactor([*layer.parameters(), *reader.parameters()], lr=1e-3)
    layer.attach_optimizer(factored)
    reader(layer(torch.randn(4, layer.in_features)).relu()).square().mean().backward()
    factored.step()
    before = copy.deepcopy([layer.state_dict(), reader.state_dict()])
    with pytest.raises(ValueError, match="cannot be cleared for one neuron"):
        layer.perform_growth(torch.tensor([0]))
    for module, state in zip((layer, reader), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_layer_says_what_it_cannot_do():
    for changes, message in (
        ({"init": "split", "train_base": "ffn"}, "init of a GrowableLinear must be one of"),
        ({"reserve_events": 2}, "reserve_events of a GrowableLinear must be 0"),
    ):
        with pytest.raises(ValueError, match=message):
            GrowableLinear(4, 8, config=GrowthConfig(**changes))
    layer = GrowableLinear(4, 8)
    layer.link(GrowableLinear(8, 2))
    with torch.no_grad():
        layer.weight[2] = float("nan")
    with pytest.raises(GrowthSkipped, match="not finite"):
        layer.perform_growth(torch.tensor([2]))
    assert layer.out_features == 8


def test_layer_is_a_drop_in_that_can_be_saved_and_made_plain():
    layer, reader = linked(growth_cooldown=10)
    train(layer, reader, 35)
    x = torch.randn(4, 6)
    plain = nn.Sequential(layer.to_linear(), nn.ReLU(), reader.to_linear())
    assert torch.allclose(plain(x), reader(layer(x).relu()), atol=1e-6)
    for trained in (layer, reader):
        fresh = GrowableLinear(trained.weight.shape[1], trained.weight.shape[0])
        fresh.load_state_dict(trained.state_dict())
        given = torch.randn(3, trained.in_features)
        assert torch.equal(fresh(given), trained(given))
    linear = nn.Linear(3, 5)
    grown = GrowableLinear.from_linear(linear)
    assert grown.weight is linear.weight
    assert torch.equal(grown(torch.ones(1, 3)), linear(torch.ones(1, 3)))


def test_chain_of_layers_that_all_grow():
    torch.manual_seed(0)
    chain = [GrowableLinear(5, 6), GrowableLinear(6, 7), GrowableLinear(7, 2)]
    chain[0].link(chain[1])
    chain[1].link(chain[2])
    x = torch.randn(9, 5)

    def run():
        return chain[2](chain[1](chain[0](x).tanh()).tanh())

    before = run()
    for number in (0, 1, 0, 1, 1):
        chain[number].perform_growth(torch.tensor([0, 2]))
    assert torch.equal(run(), before)
    assert [layer.out_features for layer in chain] == [10, 13, 2]
    assert chain[1].full_weight().shape == (13, 10)
    plain = [layer.to_linear() for layer in chain]
    assert torch.allclose(plain[2](plain[1](plain[0](x).tanh()).tanh()), before, atol=1e-6)


def test_loop_of_the_readme():
    model = GrowableQwen(toy_model("qwen2"), enable_replacement=True, growth_cooldown=20)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    attach_optimizer(model, optimizer)
    born = []
    for step in range(1, 61):
        loss = model(**toy_batch(seed=step)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update_loss(loss.item())
        if step % 20 == 0:
            result = model.check_and_grow()
            assert {"born", "replaced", "died"} <= set(result.keys())
            assert dict(result)["born"] == result["born"]
            born.append(result["born"])
    assert born == [4, 4, 4]  # a tenth of 24, in each of two layers
    assert not model.model.layers[0].self_attn.q_proj.weight.requires_grad
    assert model.generate(toy_batch()["input_ids"], max_new_tokens=2).shape == (4, 12)


def test_names_and_folders_work_as_models_do(tmp_path):
    toy_model("qwen2").save_pretrained(tmp_path / "base")
    model = GrowableQwen(str(tmp_path / "base"), freeze_attention=False)
    model.grow({0: torch.tensor([1, 2])}, growth_batch=toy_batch())
    model.save_pretrained(tmp_path / "grown")
    again = GrowableQwen.from_pretrained(str(tmp_path / "base"), tmp_path / "grown")
    assert isinstance(again, GrowableQwen)
    assert again.born == 2
    assert torch.equal(again(**toy_batch()).logits, model(**toy_batch()).logits)


def test_growth_can_be_switched_off_and_attention_trained():
    model = GrowableCausalLM(toy_model("llama"), enable_growth=False, freeze_attention=False)
    assert model.model.layers[0].self_attn.q_proj.weight.requires_grad
    assert model.check_and_grow()["born"] == 0
    with pytest.raises(ValueError, match="not both"):
        GrowableQwen(toy_model(), config=foam.GrowthConfig(), seed=1)


def filled(count=100, **settings):
    buffer = MemoryReplayBuffer(**settings)
    for number in range(count):
        buffer.add(f"old {number}", "answer", loss=number / count, task=f"task {number % 3}")
    return buffer


@given(st.integers(0, 40), st.floats(0, 0.95), st.integers(0, 60))
def test_replay_ratio_is_the_share_of_the_batch_bug_68(new, ratio, stored):
    buffer = filled(stored)
    fresh = [{"prompt": f"new {n}"} for n in range(new)]
    batch = buffer.get_replay_batch(fresh, replay_ratio=ratio)
    old = [each for each in batch if each["prompt"].startswith("old")]
    assert sorted(e["prompt"] for e in batch if e not in old) == sorted(e["prompt"] for e in fresh)
    assert len({each["prompt"] for each in old}) == len(old)
    wanted = new * ratio / (1 - ratio)
    assert len(old) == min(round(wanted), stored)


@pytest.mark.parametrize("ratio", [1.0, -0.1, 2, float("nan"), None])
def test_replay_ratio_outside_its_range_bug_68(ratio):
    with pytest.raises(ValueError, match=r"replay_ratio must be in \[0, 1\)"):
        filled().get_replay_batch([{}], replay_ratio=ratio)


def test_empty_buffers_give_new_examples_only_or_say_what_to_do():
    buffer = MemoryReplayBuffer()
    assert buffer.get_replay_batch([1, 2]) in ([1, 2], [2, 1])
    with pytest.raises(ValueError, match="add examples first"):
        buffer.sample(1)
    for settings in ({"max_size": 0}, {"strategy": "best"}):
        with pytest.raises(ValueError, match="must be"):
            MemoryReplayBuffer(**settings)


def test_buffer_holds_what_was_added_and_nothing_else_bug_69():
    """Items that are tested get in only if they are added: batches do not store new examples."""
    buffer = filled(10)
    buffer.get_replay_batch([{"prompt": "tested"}], replay_ratio=0.5)
    assert {each["prompt"] for each in buffer.examples} == {f"old {n}" for n in range(10)}


def test_reservoir_keeps_every_example_equally_often_bugs_70_71():
    counts = torch.zeros(40)
    for seed in range(600):
        for each in filled(40, max_size=10, seed=seed).examples:
            counts[int(each["prompt"].split()[1])] += 1
    expected, spread = 150.0, (600 * 0.25 * 0.75) ** 0.5
    assert (counts - expected).abs().max() < 4.5 * spread
    assert (counts[:20].sum() - 20 * expected).abs() < 4.5 * spread * 20**0.5


def test_strategies_keep_what_they_say_bug_71():
    assert [e["prompt"] for e in filled(5, max_size=3, strategy="fifo").examples] == [
        "old 2",
        "old 3",
        "old 4",
    ]
    kept = {e["prompt"] for e in filled(9, max_size=3, strategy="loss").examples}
    assert kept == {"old 6", "old 7", "old 8"}
    balanced = MemoryReplayBuffer(max_size=6, strategy="balanced")
    for task, count in (("a", 50), ("b", 3), ("c", 1)):
        for number in range(count):
            balanced.add(f"{task}{number}", "", task=task)
    tasks = [each["task"] for each in balanced.examples]
    assert sorted(map(tasks.count, "abc")) == [1, 2, 3]
    assert tasks.count("c") == 1


def test_unknown_losses_do_not_spoil_sampling_by_loss_bug_72():
    buffer = MemoryReplayBuffer(max_size=4, strategy="loss")
    for number, loss in enumerate((1e-9, float("nan"), None, float("inf"), 5.0, 1e-9)):
        buffer.add(f"{number}", "", loss=loss)
    drawn = [buffer.sample(1)[0]["prompt"] for _ in range(300)]
    assert drawn.count("4") > 60
    assert len(set(drawn)) > 1
    buffer.update_losses({"4": float("nan")})
    assert len(buffer.sample(4)) == 4


@pytest.mark.parametrize("strategy", ["reservoir", "loss", "fifo", "balanced"])
def test_buffer_goes_on_where_it_was_saved(strategy, tmp_path):
    buffer = filled(30, max_size=10, strategy=strategy, seed=3)
    buffer.save(tmp_path / "buffer.json")
    again = MemoryReplayBuffer.load(tmp_path / "buffer.json")
    for each in (buffer, again):
        each.add("last", "", loss=0.5, task="task 0")
    assert len(again) == 10
    assert buffer.get_replay_batch([1] * 8, 0.3) == again.get_replay_batch([1] * 8, 0.3)
    assert buffer.state_dict() == again.state_dict()


@given(st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=30))
def test_curriculum_keeps_every_example_once_bug_73(losses):
    examples = [{"prompt": str(n), "loss": loss} for n, loss in enumerate(losses)]
    copy = [dict(example) for example in examples]
    curriculum = CurriculumLearning()
    phases = curriculum.get_phases(examples)
    assert examples == copy
    assert [e for phase in phases for e in phase] == curriculum.sort_by_difficulty(examples)
    assert sorted(e["prompt"] for p in phases for e in p) == sorted(e["prompt"] for e in examples)
    sizes = [len(phase) for phase in phases]
    assert max(sizes) - min(sizes) <= 1
    known = [e["loss"] for phase in phases for e in phase if e["loss"] is not None]
    assert known == sorted(known)


def test_difficulty_by_length_by_function_and_unknown():
    texts = [{"prompt": "abc", "response": "de"}, {"prompt": "a", "response": "b"}]
    assert CurriculumLearning("length").sort_by_difficulty(texts) == texts[::-1]
    assert CurriculumLearning(lambda x: -x).sort_by_difficulty([1, 3, 2]) == [3, 2, 1]
    with pytest.raises(ValueError, match="difficulty must be"):
        CurriculumLearning("colour")


def test_no_warning_where_all_is_as_it_should_be():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer, reader = linked(growth_cooldown=10)
        train(layer, reader, 21)
