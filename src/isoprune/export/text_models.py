"""Networks of transformers, with random weights, from a config: no download, no code of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from isoprune.types import IsopruneError
from isoprune.types.errors import guess, one_line

LARGEST = 10**9  # parameters; the default config of many a type is that of its largest member
_NO_CODE = {"trust_remote_code": False}  # unsaid, transformers asks the user, with a timer
TOKENS = 32  # of an example input: long enough that no head sees one token only


def make(
    text: str, generator: Generator
) -> tuple[nn.Module, str, Callable[[], Any], Callable[[Sequence[int]], Any]]:
    """Return the network, the Python that makes it, its example inputs, and those of a given shape.

    ``text``: a model type (bert), a config class (BertConfig) or a directory with a config.json; options of
    the config follow after commas. The head is the usual one of the type: next token for decoders,
    classification for encoders of text and of images.

    Raises:
        IsopruneError: For an unknown type or option, or a config of more than a billion parameters.
    """
    name, *settings = text.split(",")
    config, made = _config(name, _options(settings))
    if "/" in str(getattr(config, "_attn_implementation", "")):  # a repository, whose code would be fetched
        raise IsopruneError(
            f"transformers:{name} asks for attention code of a repository. Take that out of it."
        )
    config.use_cache = False  # what it would cache is no output to compare, and no exporter knows it
    head = _head(config)
    with torch.device("meta"):
        count = sum(p.numel() for p in head.from_config(config, **_NO_CODE).parameters())
    if count > LARGEST:
        raise IsopruneError(
            f"transformers:{text} has {count / 1e9:.1f} billion parameters. Ask for a smaller one: "
            f"transformers:{name},num_hidden_layers=2,hidden_size=512"
        )
    model = head.from_config(config, **_NO_CODE)
    code = f"transformers.{head.__name__}.from_config({made})"
    return model, code, lambda: _example(model, None, generator), lambda s: _example(model, s, generator)


def _options(settings: Sequence[str]) -> dict[str, Any]:
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise IsopruneError(f"{setting!r} is no option. Write key=value, as in num_hidden_layers=4.")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def _config(name: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return the config, and the Python that makes it."""
    import transformers
    from transformers.models.auto import configuration_auto

    said = "".join(f", {key}={value!r}" for key, value in options.items())
    if Path(name).is_dir():
        make, arguments = transformers.AutoConfig.from_pretrained, {"local_files_only": True, **_NO_CODE}
        code = f"transformers.AutoConfig.from_pretrained({name!r}{said})"
        return _tried(lambda: make(name, **arguments, **options), name), code
    classes: dict[str, str] = dict(vars(configuration_auto)["CONFIG_MAPPING_NAMES"])
    types = {cls: kind for kind, cls in classes.items()}
    kind = name if name in classes else types.get(name)
    if kind is None:
        hint = guess(name, [*classes, *types], most=3, write=str)
        raise IsopruneError(
            f"transformers has no model type or config class {name!r}, and there is no such directory.{hint}"
        )
    plain = _tried(lambda: transformers.AutoConfig.for_model(kind), name)
    for key in options:
        if not hasattr(plain, key) or key.startswith("_"):
            hint = guess(key, plain.to_dict(), write=str)
            raise IsopruneError(f"{classes[kind]} has no option {key!r}.{hint}")
    code = f"transformers.AutoConfig.for_model({kind!r}{said})"
    return _tried(lambda: transformers.AutoConfig.for_model(kind, **options), name), code


def _tried(make: Callable[[], Any], name: str) -> Any:
    try:
        return make()
    except Exception as error:
        raise IsopruneError(
            f"No config of transformers:{name}: {one_line(error, 150)}. Try a model type, such as bert."
        ) from error


def _head(config: Any) -> Any:
    """Return the auto class with the head that networks of this kind usually have."""
    import transformers as t
    from transformers.models.auto import modeling_auto as known

    kind = config.model_type
    if kind in known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return t.AutoModelForImageClassification
    encoder = kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if encoder and kind in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return t.AutoModelForSequenceClassification
    if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return t.AutoModelForCausalLM
    return t.AutoModel


def _example(model: Any, shape: Sequence[int] | None, generator: Generator) -> dict[str, torch.Tensor]:
    config, name = model.config, model.main_input_name
    if name == "input_ids":
        size = list(shape or (1, TOKENS))
        # From the middle of the vocabulary: its ends hold padding and other marks.
        vocabulary = config.get_text_config().vocab_size
        return {name: torch.randint(vocabulary // 4, vocabulary // 2, size, generator=generator)}
    if shape is None and name == "pixel_values":
        side = config.image_size
        height, width = side if isinstance(side, list | tuple) else (side, side)
        shape = (1, getattr(config, "num_channels", 3), height, width)
    if shape is None:
        raise IsopruneError(
            f"{type(model).__name__} takes {name}, whose shape cannot be guessed. Give --shape."
        )
    return {name: torch.randn(*shape, generator=generator)}
