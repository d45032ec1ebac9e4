"""HuggingFace's transformers, unmodified, where it is installed: a training step and text as with PyTorch.

The library is no dependency of the tests; both sides run in processes of their own.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="real PyTorch is the oracle")
if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

PROGRAM = """
import json, sys, warnings
import numpy as np

warnings.simplefilter("ignore")
if sys.argv[1] == "funtorch":
    from funtorch.compat import torch_alias
    torch_alias.install()
import torch
from transformers import LlamaConfig, LlamaForCausalLM

assert torch.__name__ == sys.argv[1]
model = LlamaForCausalLM(LlamaConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
    intermediate_size=16, vocab_size=32, pad_token_id=0,
))
numbers = np.random.default_rng(0)
with torch.no_grad():
    for _, p in sorted(model.named_parameters()):
        p.copy_(torch.tensor(numbers.standard_normal(tuple(p.shape)) * 0.3))
ids = torch.tensor(numbers.integers(3, 32, (2, 5)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
losses = []
for _ in range(2):
    loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss))
model.save_pretrained(sys.argv[2])
again = LlamaForCausalLM.from_pretrained(sys.argv[2]).eval()
text = again.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
print(json.dumps({"losses": losses, "text": text.tolist()}))
"""


def test_llama_learns_and_writes_as_with_pytorch(tmp_path) -> None:
    found = {}
    for library in ("torch", "funtorch"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, library, str(tmp_path / library)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found[library] = json.loads(done.stdout.splitlines()[-1])
    assert found["funtorch"]["losses"] == pytest.approx(found["torch"]["losses"], rel=1e-4)
    assert found["funtorch"]["text"] == found["torch"]["text"]
