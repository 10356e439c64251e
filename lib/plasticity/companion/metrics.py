"""Every measured quantity's unit and direction, declared once.

A metric is named by whole words; its direction says which side is better, so that no table, figure
or verdict decides that for itself.
"""

from dataclasses import dataclass

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Metric:
    """The unit of a quantity and which side of it is better.

    Parameters
    ----------
    unit : str
        Unit of its values, as recorded in result rows.
    better : {'higher', 'lower'} or None
        The better side; None where neither is.
    """

    unit: str
    better: str | None


METRICS: dict[str, Metric] = {
    # quality
    "accuracy": Metric("percent", HIGHER),
    "readout_accuracy": Metric("percent", HIGHER),
    "curve_accuracy": Metric("percent", HIGHER),
    "regression_accuracy": Metric("percent", HIGHER),
    "peak_accuracy": Metric("percent", HIGHER),
    "harmonic_accuracy": Metric("percent", HIGHER),
    "phase_correlation_accuracy": Metric("percent", HIGHER),
    "constant_guess_accuracy": Metric("percent", None),
    "accuracy_over_guess": Metric("percentage points", HIGHER),
    "readout_gain": Metric("percentage points", HIGHER),
    "loss": Metric("nats per token", LOWER),
    "curve_loss": Metric("nats per token", LOWER),
    "curve_train_loss": Metric("nats per token", LOWER),
    "perplexity": Metric("perplexity", LOWER),
    "relative_perplexity": Metric("percent", LOWER),
    "known_perplexity": Metric("perplexity", LOWER),
    "bits_per_character": Metric("bits", LOWER),
    "probability_error": Metric("probability", LOWER),
    "probability_difference": Metric("probability", LOWER),
    "cloze_accuracy": Metric("percent", HIGHER),
    "mean_rank": Metric("rank", LOWER),
    "median_rank": Metric("rank", LOWER),
    "retention": Metric("percent", HIGHER),
    "skill_accuracy": Metric("percent", HIGHER),
    "tool_use_of_ten": Metric("of 10", HIGHER),
    "identity_of_five": Metric("of 5", HIGHER),
    "autonomy_of_five": Metric("of 5", HIGHER),
    "draw_share": Metric("percent", HIGHER),
    "cell_accuracy": Metric("percent", HIGHER),
    "sentence_id_accuracy": Metric("percent", HIGHER),
    "routing_accuracy": Metric("percent", HIGHER),
    "class_accuracy": Metric("percent", HIGHER),
    "guess_accuracy": Metric("percent", HIGHER),
    "best_possible_accuracy": Metric("percent", None),
    "whole_sentences_share": Metric("percent", HIGHER),
    "attested_share": Metric("percent", HIGHER),
    "ended_share": Metric("percent", HIGHER),
    "copied_share": Metric("percent", None),
    "calibration_error": Metric("percentage points", LOWER),
    "agreement_of_two_hundred": Metric("of 200", HIGHER),
    "agreeing_digits": Metric("digits", HIGHER),
    "compared_digits": Metric("digits", None),
    "answered_class": Metric("class", None),
    # cost
    "parameters": Metric("parameters", LOWER),
    "parameter_share": Metric("percent", LOWER),
    "flops_per_token": Metric("FLOPs", LOWER),
    "training_flops": Metric("FLOPs", LOWER),
    "learning_rate": Metric("learning rate", None),
    "kept_lines": Metric("lines", None),
    "tokens_per_second": Metric("tokens/s", HIGHER),
    "pairs_per_second": Metric("pairs/s", HIGHER),
    "tokens_to_start_learning": Metric("tokens", LOWER),
    "tokens_to_leave_plateau": Metric("tokens", LOWER),
    "seconds": Metric("s", LOWER),
    "answer_seconds": Metric("seconds", LOWER),
    "lookup_seconds": Metric("seconds", LOWER),
    "first_lookup_seconds": Metric("seconds", LOWER),
    "notebook_overhead_seconds": Metric("seconds", LOWER),
    "step_seconds": Metric("s", LOWER),
    "step_flops": Metric("FLOPs", LOWER),
    "peak_bytes": Metric("bytes", LOWER),
    "time_ratio": Metric("ratio", LOWER),
    "memory_ratio": Metric("ratio", LOWER),
    "flop_ratio": Metric("ratio", LOWER),
    "tokens": Metric("tokens", None),
    "scored_tokens": Metric("tokens", None),
    "bytes": Metric("bytes", LOWER),
    "kilobytes": Metric("kilobytes", LOWER),
    "megabytes": Metric("megabytes", LOWER),
    "gigabytes": Metric("gigabytes", LOWER),
    "synapses_per_second": Metric("synapses/s", HIGHER),
    "synapses_per_core_second": Metric("synapses/s", HIGHER),
    "cores_used": Metric("cores", None),
    "load_average": Metric("processes", None),
    "cycle_seconds": Metric("s", LOWER),
    "frontier_seconds": Metric("s", LOWER),
    "build_seconds": Metric("s", LOWER),
    "learning_seconds": Metric("s", LOWER),
    "verify_seconds": Metric("s", LOWER),
    "open_seconds": Metric("s", LOWER),
    "import_seconds": Metric("s", LOWER),
    "first_call_seconds": Metric("s", LOWER),
    "resident_gigabytes": Metric("gigabytes", LOWER),
    "disk_gigabytes": Metric("gigabytes", LOWER),
    "free_gigabytes": Metric("gigabytes", None),
    # inside a model
    "winners": Metric("cells", None),
    "activation": Metric("activation", None),
    "emitted_value": Metric("activation", None),
    "emits": Metric("1 if it emits", None),
    "gain": Metric("ratio", None),
    "paths": Metric("paths", None),
    "path_error": Metric("ratio", LOWER),
    "primitive_uses": Metric("uses", None),
    "domains": Metric("domains", None),
    "commits_found": Metric("commits", None),
    "commits_reported": Metric("commits", None),
    "weight": Metric("weight", None),
    "weight_difference": Metric("weight", LOWER),
    "alignment": Metric("cosine", HIGHER),
    "squared_error": Metric("squared error", LOWER),
    "replay_share": Metric("percent", None),
    "answer_share": Metric("percent", None),
    "gate_mean": Metric("gate", None),
    "gate_active_share": Metric("percent", None),
    "gate_std": Metric("gate", None),
    "gate_distance_from_half": Metric("gate", None),
    "gate_dimension_mean": Metric("gate", None),
    "gate_token_share": Metric("percent", None),
    "gate_modes": Metric("modes", None),
    "gate_mode": Metric("gate", None),
    "gate_variance_share": Metric("percent", None),
    "delta_rms": Metric("state units", None),
    "state_rms": Metric("state units", None),
    "proposal_rms": Metric("state units", None),
    "convergence_step": Metric("steps", LOWER),
    "last_change_step": Metric("steps", None),
    "small_divergence_step": Metric("steps", None),
    "small_change_step": Metric("steps", None),
    "right_for_good_step": Metric("steps", None),
    "divergence_threshold": Metric("nats", None),
    "change_threshold": Metric("ratio", None),
    "converged_tokens": Metric("tokens", None),
    "prediction_stability": Metric("percent", None),
    "step_gap": Metric("steps", None),
    "step_gap_low": Metric("steps", None),
    "label_null_gap": Metric("steps", None),
    "label_null_gap_bound": Metric("steps", None),
    "target_null_gap": Metric("steps", None),
    "target_null_gap_bound": Metric("steps", None),
    "endpoint_null_gap": Metric("steps", None),
    "endpoint_null_gap_bound": Metric("steps", None),
    "accuracy_drop": Metric("percentage points", None),
    "accuracy_drop_low": Metric("percentage points", None),
    "accuracy_drop_high": Metric("percentage points", None),
    "released_accuracy_drop": Metric("percentage points", None),
    "drop_difference": Metric("percentage points", None),
    "drop_difference_low": Metric("percentage points", None),
    "drop_difference_high": Metric("percentage points", None),
    "loss_increase": Metric("nats per token", None),
    "readout_loss": Metric("nats per token", LOWER),
    "gradient_cosine": Metric("cosine", None),
    "exchanged_gradient_cosine": Metric("cosine", None),
    "cosine_beyond_exchanged": Metric("cosine", None),
    "cosine_beyond_exchanged_low": Metric("cosine", None),
    "loss_change": Metric("nats per token", LOWER),
    "descent_loss_change": Metric("nats per token", LOWER),
    "loss_change_high": Metric("nats per token", LOWER),
    "loss_falls_share": Metric("percent", HIGHER),
    "relative_size": Metric("of the update's length", None),
    "frequency_correlation": Metric("rank correlation", None),
    "token_share": Metric("percent", None),
    "jacobian_norm": Metric("ratio", LOWER),
    "loss_after_growth": Metric("nats per token", LOWER),
    "id_evidence": Metric("shared words", None),
    "sharpness": Metric("log odds", None),
    "confidence": Metric("percent", None),
    # the sources' own figures, computed again
    "source_relative_performance": Metric("percent", None),
    "source_efficiency_ratio": Metric("ratio", None),
    "source_accuracy_per_million": Metric("percent per million", None),
    "source_readout_gain": Metric("percentage points", None),
    "source_skills": Metric("skills", None),
    "source_largest_drop": Metric("points", None),
    "source_minutes": Metric("minutes", LOWER),
    "source_teraflops_per_second": Metric("TFLOP/s", HIGHER),
    "source_perplexity": Metric("perplexity", None),
    # tic-tac-toe
    "seat_draw_share": Metric("percent", HIGHER),
    "protocol_draw_share": Metric("percent", HIGHER),
    "losing_lines": Metric("lines", LOWER),
    "planner_losing_lines": Metric("lines", LOWER),
    "tree_lines": Metric("lines", None),
    "mistaken_positions": Metric("positions", LOWER),
    "training_draw_share": Metric("percent", None),
    "board_accuracy": Metric("percent", HIGHER),
    "verdict_accuracy": Metric("percent", HIGHER),
    "transition_accuracy": Metric("percent", HIGHER),
    "state_share": Metric("percent", LOWER),
    "neurons": Metric("neurons", LOWER),
    "synapses": Metric("synapses", LOWER),
    "move_value": Metric("value", None),
    "minimax_move_value": Metric("value", None),
    "cell_content": Metric("content", None),
    "losing_line_cell": Metric("cell", None),
    "curve_losing_lines": Metric("lines", LOWER),
    "curve_draw_share": Metric("percent", None),
    "curve_x_share": Metric("percent", None),
    "curve_state_share": Metric("percent", None),
    "curve_cell_accuracy": Metric("percent", HIGHER),
    "curve_board_accuracy": Metric("percent", HIGHER),
    "curve_verdict_accuracy": Metric("percent", HIGHER),
    "curve_transition_accuracy": Metric("percent", HIGHER),
    # corpora
    "sentences": Metric("sentences", None),
    "prompts": Metric("prompts", None),
    "unambiguous_share": Metric("percent", None),
    "rows": Metric("rows", None),
    "documents": Metric("documents", None),
    "characters": Metric("characters", None),
    "words": Metric("words", None),
    "unique_words": Metric("words", None),
    "repeated_share": Metric("percent", None),
    "word_share": Metric("percent", None),
    "vocabulary": Metric("word pieces", None),
    "kept_share": Metric("percent", None),
    "heading_share": Metric("percent", None),
    "lines_measured": Metric("lines", None),
    "truncated_share": Metric("percent", None),
    "discarded_share": Metric("percent", None),
    "words_per_line": Metric("words", None),
    "pieces_per_line": Metric("word pieces", None),
    "masked_share": Metric("percent", None),
    "unmasked_lines_share": Metric("percent", None),
    "padding_share": Metric("percent", None),
    "ink_share": Metric("percent", None),
    "label_share": Metric("percent", None),
    # named checks: 1 where it holds, 0 where it does not
    "zero_init_survives": Metric("check", HIGHER),
    "released_code_is_table_2": Metric("check", HIGHER),
    "one_file_sets_paper_run": Metric("check", HIGHER),
    "each_step_gains_ten": Metric("check", HIGHER),
    "embedding_beats_guess": Metric("check", HIGHER),
    "easy_needs_fewer_steps_than_null": Metric("check", HIGHER),
    "last_gate_is_bimodal": Metric("check", HIGHER),
    "anti_gate_worst_as_released": Metric("check", HIGHER),
    "deltas_follow_negative_gradient": Metric("check", HIGHER),
    "anti_gate_worse_than_matched_scaling": Metric("check", HIGHER),
    "padding_makes_second_mode": Metric("check", None),
    "memory_layout_holds": Metric("check", HIGHER),
    "no_matrix_product": Metric("check", HIGHER),
    "paths_add_up": Metric("check", HIGHER),
    "domains_share_primitives": Metric("check", HIGHER),
    "reopens_at_a_commit": Metric("check", HIGHER),
    "tokenizer_trained_here": Metric("check", None),
    "same_bits": Metric("check", HIGHER),
    "billion_neurons_spread": Metric("check", HIGHER),
    "fits": Metric("check", None),
    "spread_adds_nothing": Metric("check", None),
    "far_context_adds_nothing": Metric("check", None),
    "subwords_worse_than_words": Metric("check", None),
    "predicted_id_fails_where_oracle_helps": Metric("check", None),
    "cloze_benchmark_recorded": Metric("check", HIGHER),
    "three_continuations_recorded": Metric("check", HIGHER),
    "three_generators_work": Metric("check", HIGHER),
    "plateau_credit_hurts_per_step": Metric("check", None),
    "plateau_credit_suits_final_reward": Metric("check", None),
    "group_sparsity_hurts": Metric("check", None),
    "thousand_sentences_identified": Metric("check", HIGHER),
    "generates_without_given_classes": Metric("check", HIGHER),
    "cannot_be_beaten": Metric("check", HIGHER),
    "self_play_diverges": Metric("check", None),
    "accuracy_exceeds_source": Metric("check", HIGHER),
    "planner_learns_from_world_model": Metric("check", HIGHER),
}


def metric(name: str) -> Metric:
    """Return the declaration of a metric.

    Parameters
    ----------
    name : str
        A key of `METRICS`.

    Raises
    ------
    ValueError
        If no metric has that name; the message lists those that exist.

    Examples
    --------
    >>> metric("loss")
    Metric(unit='nats per token', better='lower')
    """
    if name not in METRICS:
        known = ", ".join(sorted(METRICS))
        raise ValueError(
            f"unknown metric {name!r}; known metrics: {known}. "
            "Declare a new one in plasticity/companion/metrics.py"
        )
    return METRICS[name]
