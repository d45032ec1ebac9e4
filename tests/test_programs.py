"""The programs that users start from, as they write them, against real PyTorch: same seed, same losses."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

STEPS = 100


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int64)


def two_linear_layers(torch):
    nn, optim = torch.nn, torch.optim
    images, labels = digits()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(64, 32)
            self.fc2 = nn.Linear(32, 10)

        def forward(self, x):
            x = torch.flatten(x, 1)
            x = torch.relu(self.fc1(x))
            return self.fc2(x)

    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.from_numpy(images[:256]), torch.from_numpy(labels[:256])
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        yield loss.item()


def mnist(torch):
    nn, F, optim = torch.nn, torch.nn.functional, torch.optim
    images, labels = digits()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, 1)
            self.conv2 = nn.Conv2d(8, 16, 3, 1)
            self.dropout1 = nn.Dropout(0.25)
            self.dropout2 = nn.Dropout2d(0.5)
            self.fc1 = nn.Linear(64, 32)
            self.fc2 = nn.Linear(32, 10)

        def forward(self, x):
            x = F.relu(self.conv1(x))
            x = F.relu(self.conv2(x))
            x = F.max_pool2d(x, 2)
            x = self.dropout1(x)
            x = torch.flatten(x, 1)
            x = F.relu(self.fc1(x))
            x = self.dropout2(x)
            return F.log_softmax(self.fc2(x), dim=1)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Net().to(device)
    # Adadelta's steps amplify rounding until the paths part; a small rate keeps them together.
    optimizer = optim.Adadelta(model.parameters(), lr=0.02)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    dataset = torch.utils.data.TensorDataset(
        torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels)
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True)
    done = 0
    while done < STEPS:
        model.train()
        for data, target in loader:
            data, target = data.to(device), target.to(device)
            optimizer.zero_grad()
            loss = F.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
            yield loss.item()
            done += 1
            if done == STEPS:
                break
        scheduler.step()
    model.eval()
    with torch.no_grad():
        yield F.nll_loss(model(dataset.tensors[0]), dataset.tensors[1]).item()


def numpy_and_back(torch):
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    y = (3 * x + 2).astype(np.float32)
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(STEPS):
        loss = ((inputs * w + b - targets) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.3 * w.grad
            b -= 0.3 * b.grad
        w.grad.zero_()
        b.grad.zero_()
        yield float(loss.detach().numpy())
    yield float(w.detach().numpy()[0])


def simple_net(torch):
    nn = torch.nn

    class SimpleNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))

        def forward(self, x):
            return self.layers(x)

    model = SimpleNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = torch.randn(100, 10), torch.randn(100, 1)
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("program", [two_linear_layers, mnist, numpy_and_back, simple_net])
def test_losses_agree_over_100_steps(program):
    losses = []
    for library in (funtorch, torch):
        library.manual_seed(0)
        losses.append(list(program(library)))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4, atol=1e-4)
