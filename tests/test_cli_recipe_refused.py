"""What `isoprune prune MODEL --data DATA` refuses: in one line, exit code 2, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.painted import folder
from isoprune.cli import main
from recipes import DIGITS, own_networks, record, refused, told

NET = ("own_recipe_nets:trained", "--data", DIGITS)
DONE = (*NET, "--ratio", "0.5", "--epochs", "1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_networks(tmp_path, monkeypatch):
        yield


HOSTILE = {
    "random weights": (
        ("mlp_7", "--data", DIGITS, "--ratio", "0.5"),
        "The weights of mlp_7 are random, and pruning starts from a trained network. Give them: --weights "
        "FILE, or train it first: --dense-epochs 10.",
    ),
    "random weights of a library": (
        ("torchvision:resnet18", "--data", DIGITS, "--ratio", "0.5"),
        "The weights of torchvision:resnet18 are random",
    ),
    "names": (
        (*NET, "--ratio", "0.5", "--only", "1=0.2"),
        "--only does not go with --data. Give one --ratio, --flops, --parameters or --latency",
    ),
    "fewer than no epochs": (
        (*NET, "--ratio", "0.5", "--epochs", "-1"),
        "retrain.epochs is -1, but must be at least 0",
    ),
    "fewer than no epochs before": (
        (*NET, "--ratio", "0.5", "--dense-epochs", "-1"),
        "dense.epochs is -1, but must be at least 0",
    ),
    "a ratio of one": ((*NET, "--ratio", "1"), "prune.ratio is 1, outside [0, 1)"),
    "no FLOPs": ((*NET, "--flops", "0"), "prune.flops is 0, outside (0, 1]"),
    "a time of nothing": ((*NET, "--latency", "0"), "The latency target is 0.0, not in (0, 1)"),
    "a negative seed": ((*NET, "--ratio", "0.5", "--seed", "-1"), "seed is -1, but must be at least 0"),
    "no data of that name": (
        ("own_recipe_nets:net", "--data", "digitz", "--ratio", "0.5"),
        "Unknown data set 'digitz'. Did you mean 'digits'?",
    ),
    "no folder": (
        ("own_recipe_nets:net", "--data", "nowhere/", "--ratio", "0.5"),
        "Unknown data set 'nowhere/'.",
    ),
    "a table that is none": (
        ("own_recipe_nets:net", "--data", "{name = digits}", "--ratio", "0.5"),
        "--data {name = digits} is not a TOML table. Quote it for the shell",
    ),
    "an option that the data does not have": (
        ("own_recipe_nets:net", "--data", '{name = "digits", sise = 8}', "--ratio", "0.5"),
        "Unknown option 'sise' of data set 'digits'",
    ),
    "data of another shape": (
        ("own_recipe_nets:net", "--data", '{name = "digits", size = 16}', "--ratio", "0.5"),
        "own_recipe_nets:net does not take samples of shape (1, 16, 16)",
    ),
    "no network of that name": (
        ("mlp_8", "--data", DIGITS, "--ratio", "0.5"),
        "Unknown model 'mlp_8'. Did you mean 'mlp_7'?",
    ),
    "no network of the library": (
        ("torchvision:resnet19", "--data", DIGITS, "--ratio", "0.5", "--dense-epochs", "1"),
        "torchvision has no network 'resnet19'",
    ),
    "no function": (("own_recipe_nets:nit", "--data", DIGITS, "--ratio", "0.5"), "has no function 'nit'"),
    "no criterion": (
        (*NET, "--ratio", "0.5", "--criterion", "l1norm"),
        "Unknown criterion 'l1norm'. Did you mean 'l1_norm'?",
    ),
    "no weights": (
        ("resnet56", "--data", DIGITS, "--ratio", "0.5", "--weights", "nowhere.pt"),
        'weights = "nowhere.pt": there is no such file',
    ),
    "weights of a network that takes none": (
        ("mlp_7", "--data", DIGITS, "--ratio", "0.5", "--weights", "own_recipe_nets.py"),
        "Unknown option 'weights' of model 'mlp_7'",
    ),
    "no key": ((*NET, "--ratio", "0.5", "--set", "retrain.rl=1"), "Unknown key 'retrain.rl'"),
    "two targets": (
        (*NET, "--ratio", "0.5", "--set", "prune.flops=0.5"),
        "prune.ratio and prune.flops do not go together",
    ),
    "no target": (NET, "Say how much is to go: --ratio 0.5, --flops 0.5"),
    "no backend": (
        (*NET, "--ratio", "0.5", "--latency-report", "tpu"),
        "tpu",
    ),
    "no thread": ((*NET, "--ratio", "0.5", "--threads", "0"), "threads"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_told_in_one_line_and_nothing_is_written(case, capsys, tmp_path):
    words, message = HOSTILE[case]
    before = {p.name for p in tmp_path.iterdir()}
    assert message in refused(capsys, *words)
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == before - {"__pycache__"}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("wide", "own_recipe_nets:wide takes images of 12 x 16 pixels, and image_folder gives squares. Give"),
        ("text", "own_recipe_nets:text does not say that it takes images. Give --shape 1,3,224,224."),
        ("net", "own_recipe_nets:net does not say what its forward takes. Give --shape 1,3,224,224"),
    ],
)
def test_a_folder_of_images_needs_the_size_of_the_network(network, message, capsys):
    folder(Path("photos"), {"a": 12, "b": 12})
    assert message in refused(capsys, f"own_recipe_nets:{network}", "--data", "photos", "--ratio", "0.5")
    assert not Path("o").exists()


def test_a_folder_without_images_is_refused(capsys):
    Path("photos").mkdir()
    assert "photos" in refused(capsys, "own_recipe_nets:conv", "--data", "photos", "--ratio", "0.5")
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--ratio", "0.6", "--epochs", "1"), "prune.ratio is 0.5 there and 0.6 here"),
        (("--ratio", "0.5", "--epochs", "2"), "retrain.epochs is 1 there and 2 here"),
        (("--ratio", "0.5", "--epochs", "1", "--seed", "1"), "seed is 0 there and 1 here"),
        (("--ratio", "0.5", "--epochs", "1", "--floor", "2"), "prune.floor is 1 there and 2 here"),
        (
            ("--ratio", "0.5", "--epochs", "1", "--criterion", "random"),
            'prune.criterion.name is "reconstruction" there and "random" here',
        ),
        (
            ("--ratio", "0.5", "--epochs", "1", "--set", "retrain.lr=0.1"),
            'retrain.lr is "auto" there and 0.1 here',
        ),
        (("--flops", "0.5", "--epochs", "1"), "prune.ratio is 0.5 there and null here"),
        (("--latency", "0.5", "--epochs", "1"), "target.ratio is 0.5 there and null here"),
        (("--ratio", "0.5", "--epochs", "1", "--dense-epochs", "1"), "dense.epochs is 0 there and 1 here"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_by_the_first_difference(
    changed, message, capsys, settled
):
    line = refused(capsys, *NET, *changed, out=str(settled))
    assert line.endswith(f"o holds another recipe: {message}. Give another --out, or delete that folder.")
    # What is there is still there, and goes on.
    assert record(str(settled))["status"] == "done"


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished recipe."""
    place = tmp_path_factory.mktemp("settled")
    with pytest.MonkeyPatch.context() as patch, own_networks(place, patch):
        assert main(["prune", *DONE, "--out", "o"]) == 0
    return place / "o"


@pytest.mark.matrix
def test_what_changes_no_result_is_no_other_recipe(capsys, settled):
    told(capsys, *DONE, "--threads", "2", out=str(settled))
    told(
        capsys,
        *NET,
        "--ratio",
        "0.5",
        "--epochs",
        "3",
        "--set",
        "retrain.epochs=1",
        "--set",
        "repair=none",
        out=str(settled),
    )


@pytest.mark.matrix
def test_other_weights_at_the_same_path_are_another_recipe(capsys):
    from safetensors.torch import save_file

    import isoprune

    def trained(plus: float) -> None:
        net = isoprune.models.resnet56(in_shape=(1, 8, 8), classes=10, blocks=1)
        save_file(
            {n: t + plus if t.is_floating_point() else t for n, t in net.state_dict().items()},
            "w.safetensors",
        )

    words = (
        "resnet56",
        "--data",
        DIGITS,
        "--set",
        "model.blocks=1",
        "--weights",
        "w.safetensors",
        "--dense-epochs",
        "1",
    )
    trained(0.0)
    told(capsys, *words, "--ratio", "0.5", "--epochs", "1", "--scope", "internal")
    trained(1.0)
    line = refused(capsys, *words, "--ratio", "0.5", "--epochs", "1", "--scope", "internal")
    assert "o holds another recipe: model.weights is " in line


@pytest.mark.parametrize("name", ["thesis.tex", "network2", ".git"])
def test_a_folder_with_somebodys_files_is_left_alone(name, capsys):
    Path("o").mkdir()
    (Path("o") / name).write_text("mine")
    line = refused(capsys, *DONE)
    assert f"o holds {name}, which no recipe wrote. Give a new or an empty directory: --out DIR." in line
    assert [p.name for p in Path("o").iterdir()] == [name]


def test_a_network_folder_with_somebodys_files_is_left_alone(capsys):
    Path("o/network").mkdir(parents=True)
    Path("o/network/mine.txt").touch()
    assert "o/network holds mine.txt, which isoprune did not write" in refused(capsys, *DONE)
    assert [p.name for p in Path("o").iterdir()] == ["network"]


def test_a_file_is_no_folder(capsys):
    Path("o").write_text("mine")
    assert "o is a file. Give a directory: --out DIR." in refused(capsys, *DONE)
    assert Path("o").read_text() == "mine"


def test_a_damaged_recipe_is_told(capsys):
    Path("o").mkdir()
    Path("o/recipe.json").write_text("{")
    assert "o/recipe.json is damaged: " in refused(capsys, *DONE)


@pytest.mark.parametrize(
    "more", [("--set", "retrain.lr=0.1"), ("--dense-epochs", "3"), ("--optimizer", "adamw")]
)
def test_settings_of_a_training_need_data(more, capsys):
    line = refused(capsys, "own_recipe_nets:conv", "--ratio", "0.5", *more)
    assert line == "isoprune: --set, --dense-epochs and --optimizer are for retraining. Give --data too."
    assert not Path("o").exists()


def test_an_optimizer_needs_a_training(capsys):
    line = refused(capsys, *DONE, "--epochs", "0", "--optimizer", "adamw")
    assert line == "isoprune: Nothing is trained with --epochs 0. Leave out --optimizer."
    assert not Path("o").exists()


def test_help_tells_both_ways(capsys):
    assert main(["prune", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--data STR: Retrain on a data set, by name or table, or a folder" in said
    assert "With --data" in said


def test_a_network_at_chance_is_no_trained_one(capsys):
    words = ("--data", '{name = "digits", size = 8}', "--ratio", "0.5", "--epochs", "1")
    line = refused(capsys, "own_recipe_nets:net", *words)
    shares = re.search(r"classifies ([\d.]+)% of (\d+) validation samples, .* class is ([\d.]+)% of", line)
    right, n, most = map(float, shares.groups())
    # Of 1,437 a tenth: each class has about a tenth of them, and so many are right by luck.
    assert (n, most < 20, right < 25) == (144, True, True)
    assert line.endswith("or train it first: --dense-epochs 10.")
    assert not Path("o").exists()
