"""transformers' Trainer: half of the weights go in two rounds; its checkpoints stay plain ones.

    python examples/trainer_callback.py        pip install 'isoprune[zoo]'

The callback holds the masks through AdamW and weight decay; checkpoints load by `from_pretrained`, with zeros
where weights went, and `trainer.train(resume_from_checkpoint=True)` goes on under the same masks.
"""

import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from isoprune.integrations.trainer import Prune


def texts(number: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Sentences of 12 words; the label says whether word 3 comes more often than word 4."""
    words = torch.randint(2, 8, (number, 12), generator=torch.Generator().manual_seed(seed))
    labels = ((words == 3).sum(1) > (words == 4).sum(1)).long()
    return [{"input_ids": row, "labels": label} for row, label in zip(words, labels, strict=True)]


def right(model: torch.nn.Module, rows: list[dict[str, torch.Tensor]]) -> float:
    words, labels = (torch.stack([row[key] for row in rows]) for key in ("input_ids", "labels"))
    with torch.no_grad():
        return float((model.eval()(input_ids=words).logits.argmax(1) == labels).float().mean())


def main() -> list[float]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=12, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model, train, test = BertForSequenceClassification(config), texts(600, 0), texts(300, 1)

    prune = Prune(
        ratio=0.5, begin=3, rounds=2, every=2, example_inputs={"input_ids": train[0]["input_ids"][None]}
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=8, per_device_train_batch_size=20, learning_rate=3e-3, weight_decay=0.01,
            save_strategy="epoch", report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no",
            dataloader_pin_memory=False, seed=0,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=train, callbacks=[prune])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        again = BertForSequenceClassification.from_pretrained(f"{folder}/checkpoint-240")

    cost = prune.pruned.costs.pruned
    print(f"{cost.parameters - cost.nonzero:,} of {cost.parameters:,} weights and biases are held at zero")
    found = [right(network, test) for network in (model, again)]
    print(f"trained: {found[0]:.1%} of the test sentences; read by from_pretrained: {found[1]:.1%}")
    return found


if __name__ == "__main__":
    main()
