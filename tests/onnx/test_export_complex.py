"""Complex numbers within an exported model, as pairs of real values: Fourier transforms, rotations."""

import numpy as np
import pytest

import funtorch as torch

nn = torch.nn
pytest.importorskip("onnxruntime")
WINDOW = torch.hann_window(16)
TURNS = torch.polar(torch.ones(6, 4), torch.arange(24.0).reshape(6, 4))


def rotary(x):
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(z * TURNS).flatten(-2)


def arithmetic(x):
    z = torch.complex(x[:, :6], x[:, 6:])
    made = torch.exp(z) / (z * z + 2) - z.conj() @ z.transpose(-1, -2).log()
    return torch.view_as_real(made + torch.sgn(z)), made.angle(), z == z.conj()


def spectrogram(x):
    return torch.stft(x, 16, 4, window=WINDOW, return_complex=True)


CASES = {
    "fft": (lambda x: torch.fft.fft(x).abs(), (12,)),
    "fft2": (lambda x: torch.fft.ifft2(torch.fft.fft2(x) * 2).real, (6, 10)),
    "rfft": (lambda x: torch.view_as_real(torch.fft.rfft(x, n=10, norm="ortho")), (12,)),
    "irfft": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * (0.5 + 0.25j), n=11), (11,)),
    "rfftn": (lambda x: torch.fft.irfftn(torch.fft.rfftn(x, dim=(1, 2)), (6, 8), (1, 2)), (6, 8)),
    "hfft": (lambda x: torch.fft.hfft(torch.fft.fft(x)), (8,)),
    "shifted": (lambda x: torch.fft.fftshift(torch.fft.fft(x), 1).log().sum(1).imag, (8,)),
    "stft": (lambda x: spectrogram(x).abs(), (64,)),
    "istft": (lambda x: torch.istft(spectrogram(x), 16, 4, window=WINDOW), (64,)),
    "rotary": (rotary, (6, 8)),
    "arithmetic": (arithmetic, (12, 6)),
}


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("name", CASES)
def test_complex_within(name, opset):
    function, shape = CASES[name]
    torch.manual_seed(0)
    program = torch.onnx.export(
        Calls(function), (torch.randn(2, *shape),), dynamic_shapes=({0: "n"},), opset_version=opset
    )
    x = torch.randn(3, *shape)
    wanted = function(x)
    for run in (program, program.call_reference):
        for ours, theirs in zip(wanted if isinstance(wanted, tuple) else (wanted,), run(x)):
            np.testing.assert_allclose(theirs.numpy(), ours.numpy(), atol=1e-4, rtol=1e-4)


class Filter(nn.Module):
    """A filter among frequencies. x: [N, 12]"""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, dtype=torch.complex64))
        self.scale = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * (self.weight.detach() * self.scale), n=12)


def test_complex_weights_and_training():
    torch.manual_seed(0)
    model, x, target = Filter(), torch.randn(3, 12), torch.randn(3, 12)
    assert set(torch.onnx.export(model, (x,)).initializers) == {
        "weight.real",
        "weight.imag",
        "scale",
    }
    real = Filter()
    real.weight = None
    real.forward = lambda x: torch.fft.irfft(torch.fft.rfft(x) * real.scale, n=12)
    optimizer = torch.optim.Adam(real.parameters(), 0.1)

    def step(x, target):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(real(x), target)
        loss.backward()
        optimizer.step()
        return loss

    step(x, target)
    program = torch.onnx.export_training_step(step, (x, target), model=real, optimizer=optimizer)
    found = [program(x, target, lr=0.1)[0].item() for _ in range(4)]
    np.testing.assert_allclose(found, [step(x, target).item() for _ in range(4)], rtol=1e-5)


@pytest.mark.parametrize("function", [lambda z: z.abs(), lambda z: torch.fft.fft(z.real)])
def test_no_complex_inputs_and_outputs(function):
    with pytest.raises(torch.onnx.OnnxExporterError, match="view_as_real"):
        torch.onnx.export(Calls(function), (torch.randn(3, dtype=torch.complex64),))
