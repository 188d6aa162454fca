"""Which channels of a network go together, found on its torch.export graph."""

from joulecut.pruning.coupling.engine import Coupling, couple
from joulecut.pruning.coupling.groups import Group, ParameterSlice

__all__ = ["Coupling", "Group", "ParameterSlice", "couple"]
