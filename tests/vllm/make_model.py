#!/usr/bin/env python3
"""Make a tiny chat model that a real vLLM serves on a CPU, with no download: python make_model.py OUT [options].

Without --script the weights are random. With --script TEXT the reply is always TEXT, then end of text: attention and MLP
add nothing (o_proj = down_proj = 0), so the residual stream is the last token's embedding, and lm_head maps each token of
the script to the next. The compute is that of a normal model of its size, so cache timings keep their meaning.
The strict template refuses two user messages in a row and unknown roles, as Mistral's does.
Needs torch, transformers, tokenizers, safetensors: vLLM's own environment has them.
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig

SPECIALS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM]", "[/SYSTEM]", "<pad>"]
BOS, EOS, END_OF_PROMPT, PAD = 1, 2, 4, 7
WORDS = (
    "the a of to and in is it you that he was for on are with as his they be at one have this from or had by hot but what "
    "some we can out other were all there when up use your how said an each she which do their time if will way about many "
    "then them write would like so these her long make thing see him two has look more day could go come did my number no "
    "most people over know water than call first who may down side been now find light turn kitchen lamp weather music timer "
    "alarm minutes please assistant user system hello goodbye open close door window café 你好 привет"
)
STRICT = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set turns = messages[1:] %}"
    "{%- else %}{%- set system = '' %}{%- set turns = messages %}{%- endif %}"
    "{{- bos_token }}{%- if system %}{{- '[SYSTEM]' + system + '[/SYSTEM]' }}{%- endif %}"
    "{%- for turn in turns %}{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{%- endif %}{%- if turn['role'] == 'user' %}{{- '[INST]' + turn['content'] + '[/INST]' }}"
    "{%- elif turn['role'] == 'assistant' %}{{- turn['content'] + eos_token }}"
    "{%- else %}"
    "{{- raise_exception('Only user and assistant roles are supported, with the exception of an initial optional system message!') }}"
    "{%- endif %}{%- endfor %}"
)
NO_SYSTEM = STRICT.replace(
    "{%- set system = messages[0]['content'] %}", "{{- raise_exception('System role not supported') }}{%- set system = '' %}"
)


def build_tokenizer(script: str) -> Tokenizer:
    random.seed(0)
    words = WORDS.split()
    corpus = [" ".join(random.choices(words, k=30)) + random.choice(".!?") for _ in range(3000)] + [script] * 500
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=1000, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def wire_script(weights: dict[str, torch.Tensor], token_ids: list[int], endless: bool) -> None:
    """Make the model say `token_ids` after any prompt. `weights` is changed in place."""
    if len(set(token_ids)) != len(token_ids):
        raise SystemExit("the script repeats a token; word it differently")
    last = [(token_ids[-1], token_ids[0])] if endless else [(token_ids[-1], EOS), (EOS, token_ids[0])]
    follows = [(END_OF_PROMPT, token_ids[0]), *itertools.pairwise(token_ids), *last]
    embedding = torch.randn(weights["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(0))
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    head = torch.zeros_like(weights["lm_head.weight"])
    for token, following in follows:
        head[following] += 40 / embedding.shape[1] ** 0.5 * unit[token]
    weights |= {"model.embed_tokens.weight": embedding, "lm_head.weight": head}
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = torch.zeros_like(weights[name])


def write_tokenizer(out: Path, script: str, template: str) -> Tokenizer:
    """Train the tokenizer; write it with its chat template."""
    tokenizer = build_tokenizer(script)
    tokenizer.save(str(out / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **names}
    (out / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def write_model(out: Path, vocabulary_size: int, hidden: int, layers: int, max_tokens: int) -> None:
    """Write a Llama with random weights."""
    heads = max(2, hidden // 64)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=(vocabulary_size + 63) // 64 * 64,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=64,
        max_position_embeddings=max_tokens,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=False,
    )
    AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(out, safe_serialization=True)
    (out / "generation_config.json").write_text(json.dumps({"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--script", default="")
    arguments.add_argument("--endless", action="store_true", help="the script begins again at its end")
    arguments.add_argument("--template", choices=["strict", "no-system"], default="strict")
    arguments.add_argument("--hidden", type=int, default=128)
    arguments.add_argument("--layers", type=int, default=2)
    arguments.add_argument("--max-len", type=int, default=4096)
    args = arguments.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(args.out, args.script, STRICT if args.template == "strict" else NO_SYSTEM)
    write_model(args.out, tokenizer.get_vocab_size(), args.hidden, args.layers, args.max_len)
    if args.script:
        path = args.out / "model.safetensors"
        weights = load_file(path)
        wire_script(weights, tokenizer.encode(args.script, add_special_tokens=False).ids, args.endless)
        save_file({name: value.contiguous() for name, value in weights.items()}, path, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
