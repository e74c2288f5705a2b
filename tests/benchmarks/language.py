"""A byte-level GPT, trained on the sources of the standard library, and what one-shot methods cost it.

Run `python -m tests.benchmarks.language`. Training takes some minutes once; the weights are cached.
"""

import hashlib
import os
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tests.networks.gpt import GPT
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from corepress import Pipeline, Stage

CONTEXT, BATCH, STEPS = 256, 16, 1500
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "corepress"
SKIPPED = {"tokens|head": None, "places": None}
"""The embedding, which is the head too, and the places stay as they are."""

SEQUENTIAL = {"mode": "sequential", "blocks": [r"layers\.\d+"]}
CHANNEL, BLOCKS = {"granularity": "per_channel"}, {"granularity": "per_block", "block_size": 32}
HALF = {"target_sparsity": 0.5}


def texts() -> tuple[Tensor, Tensor]:
    """Return bytes (n,) to train on and to test on: every tenth source file of the standard library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in folder.glob("*.py") if path.stat().st_size)
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for number, file in enumerate(files):
        parts[number % 10 == 0].append(file.read_bytes())
    train, test = (torch.frombuffer(bytearray(b"".join(part)), dtype=torch.uint8) for part in parts)
    return train, test


def windows(text: Tensor, count: int, seed: int) -> Tensor:
    """Return random windows (count, CONTEXT + 1) of a text, as indices."""
    starts = torch.randint(len(text) - CONTEXT - 1, (count,), generator=torch.Generator().manual_seed(seed))
    return text[starts[:, None] + torch.arange(CONTEXT + 1)].long()


def loss(model: GPT, window: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next byte."""
    return cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())


def trained(train: Tensor) -> GPT:
    """Return the trained model, from the cache where it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(context=CONTEXT)
    key = hashlib.sha256(train.numpy().tobytes() + f"{CONTEXT},{BATCH},{STEPS}".encode()).hexdigest()[:16]
    file = CACHE / f"gpt-{key}.pt"
    if file.is_file():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS, pct_start=0.1)
    for step in tqdm(range(STEPS), desc="training", disable=None):
        optimizer.zero_grad()
        loss(model, windows(train, BATCH, seed=step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    CACHE.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model.eval()


@torch.no_grad()
def perplexity(model: GPT, test: Tensor) -> float:
    """Return the perplexity per byte on 128 windows of the test text."""
    parts = windows(test, 128, seed=1).split(16)
    return float(torch.stack([loss(model, part) for part in parts]).mean().exp())


def methods() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Yield the name of each method, and its stages: algorithm and module configuration."""
    for where, options in (("per channel", CHANNEL), ("blocks of 32", BLOCKS)):
        rtn = {"weight_dtype": "int4", **options}
        yield f"rtn int4, {where}", [("rtn", rtn)]
        yield f"rtn int4 mse, {where}", [("rtn", {**rtn, "range": "mse"})]
        yield f"gptq int4, {where}", [("gptq", {"weight_dtype": "uint4", **options})]
        yield f"rtn int3, {where}", [("rtn", {"weight_dtype": "int3", **options})]
        yield f"gptq int3, {where}", [("gptq", {"weight_dtype": "uint3", **options})]
        yield (
            f"sparse_gpt 50 % + gptq int4, {where}",
            [("sparse_gpt", {**HALF, "weight_dtype": "float32"}), ("gptq", {"weight_dtype": "uint4", **options})],
        )
    yield "magnitude 50 %", [("magnitude", HALF)]
    yield "sparse_gpt 50 %", [("sparse_gpt", {**HALF, "weight_dtype": "float32"})]
    yield "kmeans 3 bits", [("kmeans", {"n_bits": 3})]
    yield "gptq on palettes, 3 bits", [("gptq_palette", {"palette": "kmeans", "weight_dtype": "uint3"})]


def compressed(model: GPT, stages: list[tuple[str, dict[str, Any]]], data: list[Tensor], mode: str) -> GPT:
    """Return a model compressed by stages that are calibrated together or sequentially."""
    calibrated = {"gptq", "gptq_palette", "sparse_gpt"}
    pipeline = Pipeline(
        [
            Stage(
                name,
                {"global_config": options, "module_name_configs": SKIPPED},
                SEQUENTIAL if mode == "sequential" and name in calibrated else None,
            )
            for name, options in stages
        ]
    )
    return pipeline.compress(model, data=data)


def main() -> None:
    """Print the table."""
    train, test = texts()
    model = trained(train)
    data = [window[:, :-1] for window in windows(train, 128, seed=0).split(8)]
    print("| method | together | sequential | seconds |\n|---|---|---|---|")
    print(f"| float | {perplexity(model, test):.4f} | | |", flush=True)
    for name, stages in methods():
        cells, seconds = [], 0.0
        for mode in ("together", "sequential"):
            if mode == "sequential" and stages[0][0] in ("rtn", "magnitude", "kmeans"):
                cells.append("")
                continue
            begin = time.perf_counter()
            small = compressed(model, stages, data, mode)
            seconds = time.perf_counter() - begin
            cells.append(f"{perplexity(small, test):.4f}")
        print(f"| {name} | {cells[0]} | {cells[1]} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
