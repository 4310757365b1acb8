"""A language model of transformers: half of its channels go, and it stays a transformers model.

    python examples/language_model.py          writes small_gpt2/

It learns sentences drawn here, in which each word makes a few others likely. `save_pretrained` writes the
pruned network with a config of the new sizes, and `from_pretrained` reads it back without isoprune.
"""

import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

import isoprune

WORDS, LENGTH = 24, 24


def sentences(number: int, seed: int) -> list[dict[str, torch.Tensor]]:
    likely = torch.rand(WORDS, WORDS, generator=torch.Generator().manual_seed(7)).pow(12)
    own = torch.Generator().manual_seed(seed)
    text = torch.randint(WORDS, (number, 1), generator=own)
    for _ in range(LENGTH - 1):
        text = torch.cat([text, torch.multinomial(likely[text[:, -1]], 1, generator=own)], 1)
    return [{"input_ids": part} for part in text.split(40)]


def loss(outputs, batch) -> torch.Tensor:
    return cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def main(folder: Path, epochs: int = 8) -> dict[str, float]:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=48, n_layer=2, n_head=4, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    train, validation = sentences(1000, 0), sentences(200, 1)
    task = isoprune.Task(inputs=dict, loss=loss, metrics={"loss": loss}, name="language")
    how = {"train": train, "validation": validation, "task": task, "optimizer": "adamw", "lr": 3e-3}
    example = {"input_ids": train[0]["input_ids"][:2]}

    dense = isoprune.retrain(GPT2LMHeadModel(config), epochs=epochs, **how)
    pruned = isoprune.prune(dense.model, example, ratio=0.5)
    retrained = isoprune.retrain(pruned, epochs=epochs // 2, **how)

    perplexity = {}
    for name, network in {"dense": dense, "pruned": pruned, "retrained": retrained}.items():
        perplexity[name] = float(
            torch.tensor(isoprune.evaluate(network, validation, task=task)["loss"]).exp()
        )
        print(f"{name:10} perplexity {perplexity[name]:.2f} on held-out sentences")
    cost = retrained.costs
    print(f"{cost.dense.parameters:,} parameters before, {cost.pruned.parameters:,} after")

    retrained.model.save_pretrained(folder)
    again = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        same = torch.equal(again(**example).logits, retrained.model.eval()(**example).logits)
    print(f"width {again.config.n_embd} in the saved config; from_pretrained gives equal bits: {same}")
    return perplexity


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "small_gpt2"))
