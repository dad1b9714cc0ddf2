"""Tiny random decoders of the families that are tested, and a real byte-level tokenizer for them."""

from functools import cache

import torch

FAMILIES = ["llama", "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "mistral", "phi3", "gpt2", "opt"]
WITHOUT_BRANCHES = ["gpt_neox", "olmo2"]
"""Families whose layers towers/decoder_places.py does not name."""


def toy_decoder(family: str, window: int = 4, blocks: int = 3):
    """A tiny random decoder of a family, in float32, without its language-model head."""
    import transformers as hf

    torch.manual_seed(0)
    shape = {
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 256,
        "eos_token_id": 257,
    }
    mixed = ["sliding_attention", "full_attention", "sliding_attention"][:blocks]
    without_head_dim = {k: v for k, v in shape.items() if k != "head_dim"}
    match family:
        case "llama":
            model = hf.LlamaModel(hf.LlamaConfig(**shape))
        case "gemma":
            model = hf.GemmaModel(hf.GemmaConfig(**shape))
        case "gemma2":
            model = hf.Gemma2Model(hf.Gemma2Config(**shape, sliding_window=window, layer_types=mixed))
        case "gemma3":
            model = hf.Gemma3TextModel(hf.Gemma3TextConfig(**shape, sliding_window=window, layer_types=mixed))
        case "qwen2":
            model = hf.Qwen2Model(
                hf.Qwen2Config(**without_head_dim, use_sliding_window=True, sliding_window=window, layer_types=mixed)
            )
        case "qwen3":
            model = hf.Qwen3Model(hf.Qwen3Config(**shape))
        case "mistral":
            model = hf.MistralModel(hf.MistralConfig(**shape, sliding_window=window))
        case "phi3":
            model = hf.Phi3Model(hf.Phi3Config(**without_head_dim, sliding_window=window))
        case "gpt2":
            model = hf.GPT2Model(hf.GPT2Config(vocab_size=260, n_embd=32, n_layer=blocks, n_head=4, n_positions=256))
        case "opt":
            model = hf.OPTModel(
                hf.OPTConfig(
                    vocab_size=260,
                    hidden_size=32,
                    ffn_dim=48,
                    num_hidden_layers=blocks,
                    num_attention_heads=4,
                    max_position_embeddings=256,
                    word_embed_proj_dim=32,
                )
            ).decoder
        case "gpt_neox":
            model = hf.GPTNeoXModel(hf.GPTNeoXConfig(**without_head_dim))
        case "olmo2":
            model = hf.Olmo2Model(hf.Olmo2Config(**without_head_dim))
        case _:
            raise ValueError(family)
    for parameter in model.parameters():  # norms and biases that do something
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@cache
def tokenizer():
    """A byte-level tokenizer: every byte a token, plus "<s>" and "<end>"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=letters, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="<end>")
