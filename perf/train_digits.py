"""Make the bundled digits and train the bundled network on them again.

Run from the repository's root: ``python -m perf.train_digits`` (about 20 s; needs scikit-learn). It rewrites
``digits.npz``, ``digits_cnn.safetensors`` and ``SHA256SUMS`` in ``src/joulecut/benchmarks/data/files``. The
images come out the same anywhere; the weights on one version of torch and one kind of CPU.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from sklearn.datasets import load_digits as sklearn_digits

from joulecut.benchmarks.data.bundled import CHECKSUMS
from joulecut.benchmarks.data.digits import load_digits
from joulecut.benchmarks.networks.digits_cnn import digits_cnn
from joulecut.benchmarks.quality import evaluate, parameters
from joulecut.benchmarks.training import Augment, build, train

FILES = Path(__file__).parents[1] / "src/joulecut/benchmarks/data/files"
ORDER_SEED = 0
EPOCHS = 60
LEARNING_RATE = 0.1


def store_images() -> None:
    """Write scikit-learn's digits in a shuffled order."""
    digits = sklearn_digits()
    order = np.random.default_rng(ORDER_SEED).permutation(len(digits.target))
    images = digits.images[order].astype(np.uint8)
    np.savez_compressed(FILES / "digits.npz", x=images, y=digits.target[order].astype(np.uint8))


def store_checksums() -> None:
    names = sorted(path.name for path in FILES.iterdir() if path.suffix in (".npz", ".safetensors"))
    sums = {name: hashlib.sha256((FILES / name).read_bytes()).hexdigest() for name in names}
    (FILES / CHECKSUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.set_num_threads(1)
    store_images()
    store_checksums()
    splits = load_digits()
    assert splits.train is not None
    network = build(digits_cnn, seed)
    run = train(
        network,
        splits.train,
        epochs=EPOCHS,
        lr=LEARNING_RATE,
        seed=seed,
        augment=Augment(shift=1, flip=False),
    )
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    (FILES / "digits_cnn.safetensors").write_bytes(
        save(weights, {"torch": torch.__version__, "seed": str(seed)})
    )
    store_checksums()
    steps = f"{run.steps} steps in {run.seconds:.1f} s, loss {run.final_loss:.4f}"
    print(f"{parameters(network)} parameters, {steps}")
    for name in ("train", "validation", "test"):
        scores = evaluate(network, getattr(splits, name))
        print(f"{name}: accuracy {scores.accuracy:.4f}, macro-F1 {scores.macro_f1:.4f}")


if __name__ == "__main__":
    main()
