"""a configuration of transformers → a small one of the same architecture.

Every number of a configuration gets a small value by its *name*. Names that mean the same in different architectures
stand together in ``SMALL``; relations between them (a head's extent, a smaller number of key heads) are kept.
"""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["MADE_WITH", "POSITIONS", "VOCABULARY", "shrunken"]

#: Tokens of an example, and the extents that everything else is made of.
POSITIONS, VOCABULARY, WIDTH, HEADS, LAYERS, HEAD = 8, 67, 32, 4, 2, 8

#: Small value, and the names that get it.
SMALL: list[tuple[int, str]] = [
    (VOCABULARY, "vocab_size vocab_size_per_layer_input n_token vocabulary_size shape_vocab_size "
     "pronunciation_vocab_size entity_vocab_size max_hash_buckets num_hash_buckets"),
    (WIDTH, "hidden_size d_model n_embd dim emb_dim hidden_dim d_embed attention_hidden_size lru_width d_latents "
     "hidden_size_global out_hidden_size dim_model adapter_out_dim pooler_hidden_size prediction_head_size "
     "linear_hidden_size swa_hidden_size attention_dim lstm_hidden_size embed_dim backbone_hidden_size"),
    (2 * WIDTH, "intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim d_ff n_inner ffn_hidden_size d_inner ff_dim "
     "intermediate_size_mlp dense_ffn_hidden_size mlp_hidden_size dim_ff classifier_proj_size mamba_d_ssm"),
    (WIDTH // 2, "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size embedding_size "
     "shared_experts_intermediate_size expert_ffn_hidden_size moe_ffn_hidden_size kv_lora_rank q_lora_rank "
     "hidden_size_per_layer_input moe_shared_expert_intermediate_size mamba_dt_rank time_step_rank ple_embed_dim "
     "o_lora_rank decay_low_rank_dim gate_low_rank_dim a_low_rank_dim v_low_rank_dim laurel_rank expert_hidden_size "
     "moe_latent_size pronunciation_embed_dim shape_embed_dim entity_emb_size num_latents"),
    (LAYERS, "num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers num_decoder_layers depth "
     "num_encoder_layers num_transformer_layers num_lstm_layers num_blocks num_self_attends_per_block"),
    (HEADS, "num_attention_heads num_heads n_head n_heads encoder_attention_heads decoder_attention_heads "
     "attention_heads index_n_heads swa_num_attention_heads linear_num_heads linear_num_value_heads n_mamba_heads "
     "num_self_attention_heads num_cross_attention_heads"),
    (HEADS // 2, "linear_num_key_heads"),
    (HEAD, "head_dim d_kv d_head v_head_dim qk_nope_head_dim linear_key_head_dim linear_value_head_dim linear_head_dim "
     "kv_channels swa_head_dim index_head_dim attention_head_dim global_head_dim swa_v_head_dim head_size "
     "query_pre_attn_scalar mamba_d_head"),
    (4, "num_experts n_routed_experts num_local_experts moe_num_experts qk_rope_head_dim rotary_dim sliding_window "
     "sliding_window_size local_attention window_size attention_chunk_size chunk_size mamba_chunk_size block_size "
     "conv_size mamba_d_conv index_topk rel_pos_bins max_rel_pos ssm_state_size state_size mamba_d_state"),
    (2, "num_experts_per_tok num_experts_per_token moe_topk moe_k moe_top_k top_k_experts n_group topk_group "
     "mamba_n_groups n_groups num_expert_group num_key_value_layers"),
    (1, "first_k_dense_replace n_shared_experts num_shared_experts moe_num_shared_experts num_dense_layers "
     "num_nextn_predict_layers"),
    (0, "num_kv_shared_layers"),
    (4 * POSITIONS, "max_position_embeddings n_positions max_seq_len max_sequence_length n_ctx model_max_length "
     "max_source_positions max_target_positions max_2d_position_embeddings context_length context_window "
     "num_position_embeddings image_size"),
]  # fmt: skip
BY_NAME = {name: value for value, names in SMALL for name in names.split()}
KEY_HEADS = {"num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "n_head_kv", "multi_query_group_num"}
ATTENTION_HEADS = {"num_attention_heads", "num_heads", "n_head", "n_heads", "swa_num_attention_heads"}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


#: Two layers that share a block, which sees the words beside the hidden: twice the width.
SHARED_BLOCKS: dict[str, Any] = {
    "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
    "num_hidden_layers": 3,
    "attention_hidden_size": 2 * WIDTH,
    "attention_head_dim": 2 * HEAD,
}
#: What a name cannot say, by the type of the model.
BY_TYPE: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8},
    "blt": {"encoder_hash_byte_group_vocab": VOCABULARY},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
            "full_attention": None,
        },
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "num_local_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_n_heads": 8},
    "gemma3n_vision": {"model_args": {"channel_multiplier": 0.02}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"mamba_n_heads": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "layoutlmv3": {"hidden_size": 48, "coordinate_size": 8, "shape_size": 8},
    "lilt": {"hidden_size": 48},
    "mamba2": {"num_heads": 8},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"]},
    "t5": {"decoder_start_token_id": 0},
    "zamba": SHARED_BLOCKS,
    "zamba2": {**SHARED_BLOCKS, "n_mamba_heads": 8, "mamba_headdim": 8},
    "xmod": {"default_language": "en_XX"},
}
#: What a class must be told, by the type of the model: it does not accept its own defaults.
MADE_WITH: dict[str, dict[str, Any]] = {
    "gemma4_assistant": {
        "text_config": {"model_type": "gemma4_text", "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    },
}


def shrunken(config: Any, **more: Any) -> Any:
    """A small configuration of the class of ``config``, with nothing dropped at random; ``more`` is set as it is."""
    values = {**small_values(config), **BY_TYPE.get(config.model_type, {}), **more}
    kinds = vars(config).get("layer_types", vars(config).get("layers_block_type"))
    each = list(dict.fromkeys(kinds)) if isinstance(kinds, (list, tuple)) else []
    name = "layer_types" if "layer_types" in vars(config) else "layers_block_type"
    if len(each) > 1 and name not in values:
        layers = {k: len(each) for k in ("num_hidden_layers", "num_layers") if k in values}
        values = {**values, **layers, name: each}
    return finished(made_of(config, values))


def made_of(config: Any, values: dict[str, Any]) -> Any:
    """A configuration of these values; those that its class does not take are set afterwards."""
    made = type(config)(**values)
    for name, value in vars(config).items():
        if name not in vars(made) and not name.startswith("_"):
            setattr(made, name, value)
    for name, value in values.items():
        if isinstance(value, (int, float)) and name in vars(made) and vars(made)[name] != value:
            setattr(made, name, value)
    return made


def small_values(config: Any) -> dict[str, Any]:
    """The numbers of a configuration that are to be small, by name; those of its parts too."""
    own = {k: v for k, v in vars(config).items() if not k.startswith("_")}
    found: dict[str, Any] = {}
    for name, value in own.items():
        if hasattr(value, "to_dict"):
            found[name] = shrunken(value)
        elif "drop" in name and isinstance(value, float):
            found[name] = 0.0
        elif name in BY_NAME and is_number(value):
            found[name] = small_value(name, value)
        elif value is None and name in ("head_dim", "vocab_size"):
            found[name] = BY_NAME[name]
    heads = {v for k, v in own.items() if k in ATTENTION_HEADS and is_number(v)}
    for name in KEY_HEADS & set(own):
        value = own[name]
        found[name] = HEADS if value is None or value in heads else 1 if value == 1 else HEADS // 2
    return {**found, **relations(own, found), **{k: v for k, v in TOKENS.items() if k in own}}


def is_number(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def small_value(name: str, value: int) -> int:
    """The small value of a name; what is small already, or switched off, stays."""
    return min(value, BY_NAME[name]) if value > 0 else value


def relations(own: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What follows from other values: rotary sections, the head of latent attention, equal embedding and hidden."""
    made: dict[str, Any] = {}
    if own.get("hidden_size") and own.get("embedding_size") == own["hidden_size"]:
        made["embedding_size"] = WIDTH
    rope = own.get("qk_rope_head_dim")
    if rope is not None:
        if "qk_head_dim" in own:
            made["qk_head_dim"] = found.get("qk_nope_head_dim", HEAD) + found["qk_rope_head_dim"]
        if own.get("head_dim") == rope:
            made["head_dim"] = found["qk_rope_head_dim"]
    if isinstance(own.get("rope_parameters"), dict):
        made["rope_parameters"] = rotary(copy.deepcopy(own["rope_parameters"]), found.get("head_dim", HEAD))
    return made


def rotary(parameters: dict[str, Any], head: int) -> dict[str, Any]:
    """Sections and factors of rotary embeddings for a head of this extent."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            parameters[name] = rotary(value, head)
        elif name == "mrope_section":
            rest = head // 2 - (len(value) - 1)
            parameters[name] = [rest, *[1] * (len(value) - 1)]
        elif name in ("short_factor", "long_factor"):
            parameters[name] = [1.0] * (head // 2)
        elif name == "original_max_position_embeddings":
            parameters[name] = 4 * POSITIONS
    return parameters


def finished(config: Any) -> Any:
    """No cache, and token ids within the vocabulary."""
    if "use_cache" in vars(config):
        config.use_cache = False
    for name, value in vars(config).items():
        if name.endswith(("_token_id", "_token_index")) and is_number(value) and value >= VOCABULARY:
            setattr(config, name, VOCABULARY - 1)
    return config
