"""A card says what was pruned and how; with it a network goes to a hub, here a stub on this machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import torch
import yaml
from torch import nn

import isoprune
from isoprune.types.record import NetworkRecord, Record

X = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 10), nn.ReLU(), nn.Linear(10, 5)).eval()


def record():
    sizes = {"step": 0, "digest": "d", "parameters": 135, "nonzero": 135, "flops": 120}
    networks = [NetworkRecord(role="dense", metrics={"test_accuracy": 0.91}, **sizes)]
    networks.append(NetworkRecord(role="retrained", metrics={"test_accuracy": 0.8765}, **sizes))
    return Record(digest="abc", name="tiny", config={}, networks=networks)


def test_the_card_says_what_went_and_how_and_what_it_was_worth():
    small = isoprune.prune(network(), X, 0.5)
    card = isoprune.model_card(small, record())
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "pytorch", "tags": ["pruning", "isoprune"]}
    assert "| parameters | 135 | 70 | 48.1% |" in text
    assert "| multiply-adds | 120 | 60 | 50.0% |" in text
    assert "1. prune (grain=channel, ratio=0.5, allocation=uniform" in text
    assert "| dense | 0.91 |\n| retrained | 0.8765 |" in text
    assert "drawn inputs (batch 3) and weights in float64" in text
    assert "isoprune.load(FOLDER, build=make_dense)" in text
    assert "@inproceedings{wang2021dynamical" in text
    assert "None was measured" in isoprune.model_card(small)


def test_multiply_adds_that_nothing_counted_are_not_shown_as_none():
    whole = isoprune.retrain(network(), train=[(X, torch.zeros(len(X), dtype=torch.long))], lr=0.1, epochs=1)
    assert "multiply-adds" not in isoprune.model_card(whole)
    assert "multiply-adds" not in str(whole)
    assert "135" in str(whole)


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as an upload asks for."""

    files: dict[str, bytes] = {}  # noqa: RUF012  of the one commit

    def log_message(self, *_):
        pass

    def answer(self, code, content):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Error-Code", "EntryNotFound" if code == 404 else "")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_GET(self):
        self.answer(404, {})

    def do_HEAD(self):
        self.answer(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        where = f"http://{self.headers['Host']}/me/small"
        if self.path.endswith("/repos/create"):
            self.answer(200, {"url": where, "id": "me/small", "name": "me/small"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            answers = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            self.answer(200, {"files": answers})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = {"commitUrl": f"{where}/commit/1", "commitOid": "1" * 40, "success": True}
            self.answer(200, commit)
        else:
            self.answer(200, {})


PUSH = """
import pathlib, sys, torch, transformers, isoprune
from huggingface_hub import HfApi
folder = pathlib.Path(sys.argv[1])
config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=8)
torch.manual_seed(0)
model = transformers.GPT2LMHeadModel(config).eval()
small = isoprune.prune(model, {"input_ids": torch.arange(4)[None]}, 0.5)
small.model.save_pretrained(folder)
(folder / "README.md").write_text(isoprune.model_card(small))
if sys.argv[2] == "push_to_hub":
    small.model.push_to_hub("me/small", token="hf_x")
else:
    HfApi(token="hf_x").upload_folder(repo_id="me/small", folder_path=folder)
"""


@pytest.mark.matrix
@pytest.mark.parametrize("way", ["push_to_hub", "upload_folder"])
def test_a_hub_gets_the_small_network_and_its_config(way, tmp_path):
    import transformers

    Hub.files = {}
    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
        own = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-W", "ignore", "-c", PUSH, str(tmp_path / "small"), way]
        done = subprocess.run(command, env={**os.environ, **address, **own}, capture_output=True, text=True)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"config.json", "model.safetensors"} <= Hub.files.keys()
    assert json.loads(Hub.files["config.json"])["n_embd"] == 8
    assert (way == "push_to_hub") != (b"isoprune" in Hub.files["README.md"])
    there = tmp_path / "there"
    there.mkdir()
    for name, content in Hub.files.items():
        (there / name).write_bytes(content)
    again = transformers.GPT2LMHeadModel.from_pretrained(there)
    assert again.transformer.h[0].attn.c_attn.weight.shape == (8, 24)
