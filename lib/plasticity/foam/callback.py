"""`GrowthCallback`: growth inside `transformers.Trainer`."""

import dataclasses
import json
import warnings
from pathlib import Path

from transformers import TrainerCallback

from plasticity.foam.events import GrowthResult
from plasticity.foam.model import GrowableModel

LOG_FILE = "growth_log.json"


class GrowthCallback(TrainerCallback):
    """Lets a `GrowableModel` grow while `transformers.Trainer` trains it.

    With the trainer's own optimizer nothing else is needed. For training that can be resumed, give
    the trainer an optimizer that has the groups of newborns from the start::

        optimizer = model.attach_optimizer(torch.optim.AdamW(model.param_groups(lr)))
        Trainer(model, ..., optimizers=(optimizer, None), callbacks=[GrowthCallback()])

    The plateau trigger sees the losses that the trainer logs, so its window counts those: set
    `logging_steps=1` for one of optimizer steps.

    The trainer clips gradients before anyone can look at them: with `max_grad_norm`, pressure is
    that of clipped gradients, whose ranking inside a step is the same.

    Parameters
    ----------
    check_every : int
        Optimizer steps between looks at the triggers, at least 1.
    growth_batch, replay_batch : optional
        As in `GrowableModel.check_and_grow`.

    Examples
    --------
    >>> GrowthCallback(check_every=100).check_every
    100
    """

    def __init__(self, check_every: int = 1, growth_batch=None, replay_batch=None):
        if not isinstance(check_every, int) or check_every < 1:
            raise ValueError(f"check_every must be a whole number, at least 1, got {check_every!r}")
        self.check_every = check_every
        self.growth_batch, self.replay_batch = growth_batch, replay_batch

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **others):
        """Attach the optimizer, and tell the scheduler of the groups of newborns."""
        if not isinstance(model, GrowableModel):
            raise TypeError(
                f"GrowthCallback needs a GrowableModel, got {type(model).__name__}; wrap it with "
                "get_growable_model before it is given to the Trainer"
            )
        if model.growth_config.trigger == "plateau" and args.logging_steps != 1:
            warnings.warn(
                f"trigger='plateau' sees the logged losses alone, one in logging_steps="
                f"{args.logging_steps:g}: its window of {model.growth_config.plateau_window} fills "
                "so much later; set logging_steps=1, or a smaller plateau_window",
                stacklevel=2,
            )
        if model.link is None or model.link.optimizer is not getattr(
            optimizer, "optimizer", optimizer
        ):
            model.attach_optimizer(optimizer, others.get("lr_scheduler"))
        if state.global_step and not model.growth_log:  # training is resumed
            model.growth_log = _earlier_events(model, args, state)

    def on_step_end(self, args, state, control, model=None, **others):
        """Grow if it is time to: gradients are gone, the next forward pass has not begun."""
        if state.global_step % self.check_every == 0:
            model.check_and_grow(growth_batch=self.growth_batch, replay_batch=self.replay_batch)

    def on_log(self, args, state, control, model=None, logs=None, **others):
        """Give the logged loss to the plateau trigger; log how many neurons were born."""
        if logs and "loss" in logs:
            model.update_loss(float(logs["loss"]))
        if logs is not None:
            logs["born"] = model.born
            if state.log_history:  # the trainer has written its copy already
                state.log_history[-1]["born"] = model.born

    def on_save(self, args, state, control, model=None, **others):
        """Write the configuration and the log of events beside the trainer's checkpoint."""
        folder = _folder(args, state)
        if folder.is_dir() and state.is_world_process_zero:
            model.growth_config.save_pretrained(folder)
            log = [dataclasses.asdict(result) for result in model.growth_log]
            (folder / LOG_FILE).write_text(json.dumps(log) + "\n", encoding="utf-8")


def _folder(args, state) -> Path:
    """Return where the trainer keeps the checkpoint of the present step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _earlier_events(model: GrowableModel, args, state) -> list[GrowthResult]:
    """Return the log beside the checkpoint that a model came from; none if it is another's."""
    folders = [_folder(args, state)]
    if isinstance(args.resume_from_checkpoint, str):
        folders.insert(0, Path(args.resume_from_checkpoint))
    born = sum(int((layer.neurons.birth >= 0).sum()) for layer in model.layers)
    for path in (folder / LOG_FILE for folder in folders):
        if path.exists():
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
                log = [GrowthResult(**entry) for entry in entries]
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path} is damaged ({error}); delete it to resume without the earlier events"
                ) from error
            if len(log) == int(model.clock.events) and sum(each.born for each in log) == born:
                return log
    return []
