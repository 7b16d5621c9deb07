"""Readers of the sets with many metrics a machine: SMD and ASD, one `.npz` a machine.

Sources: SMD, Su et al. 2019 (NetManAIOps/OmniAnomaly, MIT), 38 metrics every minute; ASD, Li et al. 2021
(zhhlee/InterFusion, MIT), 19 metrics every 5 minutes. Both are scaled to 0..1 by their authors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sentinel.errors import Invalid

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DAY_MS = 86_400_000
JOIN_MS = 600_000  # alarms less than 10 minutes apart are one


@dataclass(frozen=True, slots=True)
class MachineSet:
    """A set's name, its step between samples, and the alarms per machine-day that a training threshold may give."""

    name: str
    step_ms: int
    alarms_per_day: float

    @property
    def per_day(self) -> float:
        """Samples of a machine-day."""
        return DAY_MS / self.step_ms

    @property
    def join(self) -> int:
        """Fewer samples than this below the threshold do not part two alarms."""
        return JOIN_MS // self.step_ms


SETS: Mapping[str, MachineSet] = MappingProxyType(
    {"smd": MachineSet("smd", 60_000, 1.0), "asd": MachineSet("asd", 300_000, 0.3)}
)


@dataclass(frozen=True, slots=True)
class MachineFile:
    """One machine. train: float64[t, metrics], without labels; test: float64[n, metrics] follows it; label: bool[n]."""

    name: str
    train: Floats
    test: Floats
    label: Bools


def read_machines(folder: Path) -> list[MachineFile]:
    """Every `.npz` with train, test and label. Raises Invalid for one that does not fit together or is not finite."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            train, test = (arrays[name].astype(np.float64) for name in ("train", "test"))
            label = arrays["label"].astype(np.bool_)
        if train.ndim != 2 or train.shape[1:] != test.shape[1:] or label.shape != test.shape[:1]:
            raise Invalid(path.name, (train.shape, test.shape, label.shape), "train [t, m], test [n, m], label [n]")
        if not (np.isfinite(train).all() and np.isfinite(test).all()):
            raise Invalid(path.name, "not finite", "finite numbers")
        found.append(MachineFile(path.stem, train, test, label))
    return found
