"""Networks of transformers: the config follows what went, so that `from_pretrained` makes the small one."""

from __future__ import annotations

import copy

import pytest
import torch

import isoprune

transformers = pytest.importorskip("transformers")

TOKENS = {"input_ids": torch.arange(5, 19).reshape(2, 7)}
IMAGES = {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
ENCODER = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
# Rotary embeddings say the frequencies of a head's width: heads keep theirs.
ROTARY = {"*": 0.5, "*.q_proj": 0, "*.k_proj": 0, "*.v_proj": 0}
GPT2 = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
DISTIL = {"vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
OPT = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48,
    "max_position_embeddings": 40, "word_embed_proj_dim": 32,
}  # fmt: skip
T5 = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
WAVES = {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))}
WAV2VEC2 = {
    **{key: value for key, value in ENCODER.items() if key != "max_position_embeddings"}, "vocab_size": 20,
    "conv_dim": [16, 16], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
GROUPED = {**ENCODER, "num_key_value_heads": 2}
NO_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 1}
FAMILIES = {
    "bert": ("BertForSequenceClassification", "BertConfig", ENCODER, TOKENS, 0.5),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", ENCODER, TOKENS, 0.5),
    "electra": (
        "ElectraForSequenceClassification", "ElectraConfig", {**ENCODER, "embedding_size": 32}, TOKENS, 0.5,
    ),
    "mpnet": ("MPNetForSequenceClassification", "MPNetConfig", ENCODER, TOKENS, 0.5),
    "distilbert": ("DistilBertForSequenceClassification", "DistilBertConfig", DISTIL, TOKENS, 0.5),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, **NO_TOKENS}, TOKENS, 0.5),
    "opt": ("OPTForCausalLM", "OPTConfig", {**OPT, **NO_TOKENS}, TOKENS, 0.5),
    "t5": ("T5EncoderModel", "T5Config", T5, TOKENS, 0.5),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION, IMAGES, 0.5),
    "deit": ("DeiTForImageClassification", "DeiTConfig", VISION, IMAGES, 0.5),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, TOKENS, ROTARY),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED, TOKENS, ROTARY),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**GROUPED, **NO_TOKENS}, TOKENS, ROTARY),
    "gpt_neox": (
        "GPTNeoXForCausalLM", "GPTNeoXConfig", {**ENCODER, **NO_TOKENS}, TOKENS, {"*.dense_h_to_4h": 0.9},
    ),
    "wav2vec2": ("Wav2Vec2ForCTC", "Wav2Vec2Config", WAV2VEC2, WAVES, 0.5),
}  # fmt: skip
FAST = ("gpt2",)


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def made(family):
    kind, config, options, inputs, ratio = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    return model, inputs, ratio


@torch.no_grad()
def answer(model, inputs):
    out = model(**inputs)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


@pytest.mark.parametrize(
    "family", [f if f in FAST else pytest.param(f, marks=pytest.mark.matrix) for f in FAMILIES]
)
def test_what_save_pretrained_wrote_is_the_small_network_again(family, tmp_path):
    model, inputs, ratio = made(family)
    before = copy.deepcopy(model.config.to_dict())
    small = isoprune.prune(model, inputs, ratio)
    assert small.history[-1]["config"] == "follows"
    small.model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert sum(p.numel() for p in again.parameters()) < 0.8 * sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(answer(again, inputs), answer(small.model, inputs), rtol=1e-5, atol=1e-5)
    assert {k: v for k, v in model.config.to_dict().items() if before.get(k) != v} == {}
    # The length of a weight-normed filter follows its inputs, and is stored in float32.
    rescaled = any("parametrizations" in name for name, _ in model.named_parameters())
    assert isoprune.verify(small).relative_error < (1e-4 if rescaled else 1e-8)


DEPTHS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}
SHALLOW = {**FAMILIES, "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**GROUPED, **NO_TOKENS}, TOKENS, 0.5)}


@pytest.mark.parametrize(
    "family", [f if f in FAST else pytest.param(f, marks=pytest.mark.matrix) for f in SHALLOW]
)
def test_whole_blocks_go_and_the_config_says_how_many_are_left(family, tmp_path):
    kind, config, options, inputs, _ = SHALLOW[family]
    torch.manual_seed(0)
    options = {key: 4 if key in DEPTHS else value for key, value in options.items()}
    if family == "wav2vec2":
        # Which layers a training step skips is drawn layer by layer: with fewer layers others are skipped.
        options["layerdrop"] = 0.0
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    small = isoprune.prune(model, inputs, 0.5, grain="residual_block")
    assert small.history[-1]["config"] == "follows"
    assert [len(gone) for gone in small.plan.removed.values()] == [2]
    small.model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(answer(again, inputs), answer(small.model, inputs), rtol=1e-5, atol=1e-5)
    if model.can_generate():
        with torch.no_grad():
            grown = [m.generate(**inputs, max_new_tokens=3, do_sample=False) for m in (again, small.model)]
        torch.testing.assert_close(*grown)


@pytest.mark.matrix
@pytest.mark.parametrize("family", ["bert", "gpt2", "vit"])
def test_whole_heads_go_and_are_loaded(family, tmp_path):
    model, inputs, _ = made(family)
    small = isoprune.prune(model, inputs, 0.5, grain="head")
    assert all(len(gone) == 2 for gone in small.plan.removed.values())
    said = small.history[-1]["config"]
    isoprune.save(small, tmp_path)
    again = isoprune.load(tmp_path, build=lambda: made(family)[0])
    torch.testing.assert_close(answer(again, inputs), answer(small.model, inputs))
    assert said == "follows" or ("no config makes" in said and "isoprune.load" in said)


@pytest.mark.matrix
def test_rounds_follow_too(tmp_path):
    model, inputs, _ = made("bert")
    small = isoprune.prune(isoprune.prune(model, inputs, 0.5), ratio=0.5)
    assert small.history[-1]["config"] == "follows"
    assert small.model.config.hidden_size == 8
    small.model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(answer(again, inputs), answer(small.model, inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "ratio", "message"),
    [
        ("bert", 0.3, "its config does not follow: no config makes bert"),
        pytest.param(
            "bert",
            {"bert.encoder.layer.0.intermediate.dense": 0.5},
            "no config makes bert.encoder.layer",
            marks=pytest.mark.matrix,
        ),
        pytest.param("llama", 0.5, "rotary_emb.inv_freq is made of the config", marks=pytest.mark.matrix),
        pytest.param("gpt_neox", 0.5, "no config makes gpt_neox.layers.0", marks=pytest.mark.matrix),
    ],
)
def test_what_no_config_says_is_told_in_one_line(family, ratio, message):
    model, inputs, _ = made(family)
    config = model.config.to_dict()
    small = isoprune.prune(model, inputs, ratio)
    told = small.history[-1]["config"]
    assert message in told
    assert "isoprune.load" in told
    assert "\n" not in told
    assert small.model.config.to_dict() == config


def test_a_cache_of_keys_and_values_is_no_output_that_keeps_the_width_of_heads():
    model, inputs, _ = made("gpt2")
    assert model(**inputs).past_key_values is not None
    small = isoprune.prune(model, inputs, 0.5)
    assert small.model.transformer.h[0].attn.c_attn.weight.shape == (16, 48)
    with torch.no_grad():
        grown = small.model.generate(inputs["input_ids"], max_new_tokens=3, do_sample=False)
    assert grown.shape == (2, 10)
