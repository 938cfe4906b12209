"""The alloys of the built-in `demo/*` datasets: which there are, and their properties by Miedema's model.

One big property, the formation enthalpy, and small ones of other kinds. All of them follow from a few parameters per
element (phi*, electron density, volume, moduli), so that a net which learned the elements from the big one has
something to carry over; none of the small ones is a function of the big one. The relations and their references are
in `xtlray.chem.miedema`. The data are computed, to try the program with; they are no evidence about real alloys.

Shapes: B alloys, K = 3 constituents at most, E elements.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from xtlray.chem import miedema
from xtlray.chem.fractions import ELEMNET_ELEMENTS
from xtlray.chem.miedema import Alloys, Floats
from xtlray.errors import unknown
from xtlray.settings import Settings

SOURCE = "formation_enthalpy"
NONMETALS = ("H", "B", "C", "N", "Si", "P", "Ge", "As")  # in the table of parameters, but no metals
BINARY_AMOUNTS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
TERNARY_AMOUNTS = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))
CANDIDATES = 64  # alloys looked at for each row of a small dataset
SOURCE_DECIMALS = 4  # eV/atom
TARGET_DIGITS = 5  # significant ones


@dataclass(frozen=True)
class Target:
    """A small property: how it is computed, and of which alloys."""

    values: Callable[[Alloys], Floats]
    only: Callable[[Alloys], npt.NDArray[np.bool_]] | None = None


def _forms_compound(alloys: Alloys) -> npt.NDArray[np.bool_]:
    """Compounds that form, less the few bound so strongly that the relation for melting leads far above any metal."""
    enthalpy = miedema.formation_enthalpy(alloys)
    return np.asarray((enthalpy > -1) & (enthalpy < 0))


# One entry per property; its unit, label and plausible range stand in the catalog (`demo/<name>`).
TARGETS = MappingProxyType(
    {
        "molar_volume": Target(miedema.molar_volume),
        "bulk_modulus": Target(lambda alloys: miedema.modulus(alloys, "bulk_modulus")),
        "shear_modulus": Target(lambda alloys: miedema.modulus(alloys, "shear_modulus")),
        "melting_temperature": Target(miedema.melting_temperature, only=_forms_compound),
        "work_function": Target(miedema.work_function),
        "debye_temperature": Target(lambda alloys: miedema.debye_temperature(alloys, _mean_mass(alloys))),
        "volume_effect": Target(miedema.volume_effect),
        "mismatch_enthalpy": Target(miedema.mismatch_enthalpy),
    }
)


class MiedemaAlloys(Settings):
    """Settings of the generator `miedema-alloys`."""

    seed: int = Field(0, ge=0, description="of the choice of alloys and of the noise")
    rows: int = Field(
        20_000, ge=2_000, le=20_800, description="alloys in the big dataset, half of them binary, half ternary"
    )
    noise: float = Field(
        0.03, ge=0, le=1, description="standard deviation of the noise on the small properties, over the property's own"
    )
    targets: dict[str, int] = Field(
        {
            "molar_volume": 180,
            "bulk_modulus": 200,
            "shear_modulus": 200,
            "melting_temperature": 200,
            "work_function": 160,
            "debye_temperature": 200,
            "volume_effect": 400,
            "mismatch_enthalpy": 600,
        },
        description="rows of each small property (50 to 1000); those left out are not made",
    )

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: dict[str, int]) -> dict[str, int]:
        for name, rows in targets.items():
            if name not in TARGETS:
                raise unknown("property of alloys", name, TARGETS)
            if not 50 <= rows <= 1000:
                raise ValueError(f"{name} is to have {rows} rows; 50 to 1000 are possible")
        return targets


@dataclass(frozen=True)
class AlloyTable:
    """A dataset that was made.

    Args:
        formulas: one per row, such as `AlNi3`.
        values: float64 (B,), in the unit that the catalog gives.
        notes: how the rows were chosen and what was added to the values, for the dataset's card.
    """

    formulas: list[str]
    values: Floats
    notes: tuple[str, ...]


def generate(settings: MiedemaAlloys) -> dict[str, AlloyTable]:
    """Every dataset by its name (`demo/...`), the big one first. Equal settings give equal tables."""
    alloys, formulas = _choose(settings)
    enthalpy = np.round(miedema.formation_enthalpy(alloys), SOURCE_DECIMALS) + 0.0  # no -0.0, which would print as such
    kinds = f"seed {settings.seed}: {settings.rows // 2} binary, {settings.rows - settings.rows // 2} ternary alloys"
    made = {f"demo/{SOURCE}": AlloyTable(formulas, enthalpy, (kinds, "computed, without noise"))}
    for name, rows in settings.targets.items():
        made[f"demo/{name}"] = _small(name, rows, alloys, formulas, settings)
    return made


def metals() -> npt.NDArray[np.int64]:
    """Positions, in `miedema.elements()`, of the 65 metals that have parameters and are among ElemNet's elements."""
    table = miedema.elements()
    return table.index([s for s in table.symbols if s not in NONMETALS and s in ELEMNET_ELEMENTS])


def _choose(settings: MiedemaAlloys) -> tuple[Alloys, list[str]]:
    """The alloys of the big dataset, drawn without repetition from the grids of binary and ternary compositions."""
    generator = np.random.default_rng([settings.seed, zlib.crc32(SOURCE.encode())])
    binaries = settings.rows // 2
    which, amount = [], []
    for count, grid, rows in ((2, BINARY_AMOUNTS, binaries), (3, TERNARY_AMOUNTS, settings.rows - binaries)):
        sets = np.array(list(combinations(metals(), count)))
        drawn = generator.permutation(len(sets) * len(grid))[:rows]
        padding = ((0, 0), (0, 3 - count))
        which.append(np.pad(sets[drawn // len(grid)], padding))
        amount.append(np.pad(np.array(grid)[drawn % len(grid)], padding))
    which_BK, amount_BK = np.concatenate(which), np.concatenate(amount)
    alloys = Alloys(which_BK, amount_BK / amount_BK.sum(axis=1, keepdims=True))
    return alloys, [_formula(*row) for row in zip(which_BK.tolist(), amount_BK.tolist(), strict=True)]


def _formula(which: list[int], amounts: list[int]) -> str:
    symbols = miedema.elements().symbols
    return "".join(f"{symbols[i]}{n if n > 1 else ''}" for i, n in zip(which, amounts, strict=True) if n > 0)


def _small(name: str, rows: int, alloys: Alloys, formulas: list[str], settings: MiedemaAlloys) -> AlloyTable:
    """Some of the big dataset's alloys, with another property, noise added."""
    generator = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    target = TARGETS[name]
    allowed = np.arange(len(formulas)) if target.only is None else np.flatnonzero(target.only(alloys))
    chosen = allowed[_spread(alloys.take(allowed), rows, generator)]
    exact = target.values(alloys.take(chosen))
    noise = settings.noise * exact.std() * generator.standard_normal(rows)
    notes = (
        f"seed {settings.seed}: {rows} of the alloys of demo/{SOURCE}, spread over the elements",
        f"Gaussian noise added, standard deviation {settings.noise * exact.std():.3g} in the unit "
        f"({settings.noise:.3g} of the property's own)",
    )
    return AlloyTable([formulas[i] for i in chosen], _significant(exact + noise, TARGET_DIGITS), notes)


def _spread(alloys: Alloys, rows: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Positions of `rows` alloys that hold each element about equally often: of a few at random, the rarest one."""
    used_E = np.zeros(len(miedema.elements().symbols))
    present_BK = alloys.amount_BK > 0
    left = generator.permutation(len(present_BK))
    chosen = np.empty(rows, dtype=np.int64)
    for row in range(rows):
        some = generator.choice(len(left), size=min(CANDIDATES, len(left)), replace=False)
        crowd = np.where(present_BK[left[some]], used_E[alloys.which_BK[left[some]]], 0.0).sum(axis=1)
        place = some[np.argmin(crowd / present_BK[left[some]].sum(axis=1))]
        chosen[row] = left[place]
        left = np.delete(left, place)
        np.add.at(used_E, alloys.which_BK[chosen[row]][present_BK[chosen[row]]], 1)
    return chosen


def _significant(values: Floats, digits: int) -> Floats:
    return np.array([float(f"{value:.{digits}g}") for value in values]) + 0.0


def _mean_mass(alloys: Alloys) -> Floats:
    """g/mol of atoms (B,)."""
    from pymatgen.core import Element

    masses = np.array([float(Element(symbol).atomic_mass) for symbol in miedema.elements().symbols])
    return alloys.mean(masses[alloys.which_BK])
