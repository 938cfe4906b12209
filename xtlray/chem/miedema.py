"""Miedema's macroscopic-atom model of alloys, vectorised: from the parameters of elements to properties of alloys.

It holds the parameter table (matminer's), the formation enthalpies of the model, and the properties that published
relations derive from the same parameters. It exists so that the package can bring its own data (`xtlray.chem.alloys`):
a big property and small ones that differ from it, yet depend on the same few numbers per element, as real ones do.

Shapes: B alloys, K constituents an alloy can have (unused ones hold amount 0). Units: volumes cm³/mol, enthalpies
inside kJ/mol and outside eV/atom, moduli GPa, temperatures K, phi* V, n_ws in Miedema's density units.

References:
    [1] F. R. de Boer, R. Boom, W. C. M. Mattens, A. R. Miedema, A. K. Niessen, Cohesion in Metals (1988).
    [2] L. J. Gallego, J. A. Somoza, J. A. Alonso, J. Phys.: Condens. Matter 2, 6245 (1990): more than two elements.
    [3] R. F. Zhang et al., Comput. Phys. Commun. 209, 58 (2016): the parameters that matminer holds.
    [4] R. Hill, Proc. Phys. Soc. A 65, 349 (1952).
    [5] V. L. Moruzzi, J. F. Janak, K. Schwarz, Phys. Rev. B 37, 790 (1988).
    [6] J. D. Eshelby, Solid State Phys. 3, 79 (1956); J. Friedel, Adv. Phys. 3, 446 (1954).
    [7] J. W. Richards, Chem. News 75, 278 (1897): metals melt with an entropy of about R.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtlray.errors import WorkError, unknown

Floats = npt.NDArray[np.float64]

KJ_PER_MOL_IN_EV = 1 / 96.4853  # per atom; the same figure as matminer's, so that the two can be compared
GAS_CONSTANT = 8.314462618e-3  # kJ/(mol K)
BOHR_PER_CUBE_ROOT_CM3_PER_MOL = (1e24 / 6.02214076e23) ** (1 / 3) / 0.529177210903


class Phase(NamedTuple):
    """What tells the phases apart in [1]: order (gamma there), and the strength of p-d hybridisation (R)."""

    order: float
    hybridisation: float


COMPOUND, GLASS, SOLUTION, LIQUID = Phase(8, 1), Phase(5, 1), Phase(0, 1), Phase(0, 0.73)


@dataclass(frozen=True)
class Elements:
    """Parameters of every element of the table; each array is indexed as `symbols`."""

    symbols: tuple[str, ...]
    volume: Floats
    density: Floats
    phi: Floats
    a: Floats
    r: Floats
    transform: Floats
    transition: npt.NDArray[np.bool_]
    bulk_modulus: Floats
    shear_modulus: Floats
    melting_point: Floats

    def index(self, symbols: list[str]) -> npt.NDArray[np.int64]:
        """Positions of `symbols`. Raises `UnknownNameError` for one without parameters."""
        where = {symbol: i for i, symbol in enumerate(self.symbols)}
        for symbol in symbols:
            if symbol not in where:
                raise unknown("element with Miedema parameters", symbol, where)
        return np.array([where[symbol] for symbol in symbols], dtype=np.int64)


_COLUMNS = {
    "volume": "molar_volume",
    "density": "electron_density",
    "phi": "electronegativity",
    "a": "a_const",
    "r": "R_const",
    "transform": "H_trans",
    "bulk_modulus": "compressibility",  # so named in the file, but the figures are bulk moduli in GPa
    "shear_modulus": "shear_modulus",
    "melting_point": "melting_point",
}

# Atomic numbers. The noble metals, lanthanides and actinides count as transition metals in [1], Al or Sn do not:
# matminer's featurizer goes by 3 to 11 valence electrons instead, and so finds NiAl unstable.
_TRANSITION = ((21, 29), (39, 47), (57, 79), (89, 103))


@cache
def elements() -> Elements:
    """The 73 elements of matminer's table [3], read from its file (importing matminer would take two seconds)."""
    spec = find_spec("matminer")
    if spec is None or spec.origin is None:
        raise WorkError("Miedema's parameters come with matminer, which is not installed", fix="pip install matminer")
    with (Path(spec.origin).parent / "utils" / "data_files" / "Miedema.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    arrays: dict[str, Any] = {ours: np.array([float(row[theirs]) for row in rows]) for ours, theirs in _COLUMNS.items()}
    number = np.array([int(row["element_id"]) for row in rows])
    arrays["transition"] = np.any([(number >= first) & (number <= last) for first, last in _TRANSITION], axis=0)
    return Elements(symbols=tuple(row["element"] for row in rows), **arrays)


@dataclass(frozen=True)
class Alloys:
    """B alloys of up to K elements each.

    Args:
        which_BK: position of each constituent in `elements()`; any position where its amount is 0.
        amount_BK: atomic fractions; every row sums to 1.
    """

    which_BK: npt.NDArray[np.int64]
    amount_BK: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> Alloys:
        """The alloys at these rows."""
        return Alloys(self.which_BK[rows], self.amount_BK[rows])

    def of(self, parameter: str) -> Floats:
        """A parameter of `Elements`, per constituent (B, K)."""
        values: Floats = getattr(elements(), parameter)[self.which_BK]
        return values

    def mean(self, values_BK: Floats) -> Floats:
        """The mean over atoms (B,)."""
        return np.asarray((self.amount_BK * values_BK).sum(axis=1))

    def pairs(self) -> Iterator[tuple[npt.NDArray[np.bool_], Alloys]]:
        """Each pair of constituents: which alloys hold both (B,), and those as binaries with amounts of the whole."""
        for i, j in combinations(range(self.amount_BK.shape[1]), 2):
            both = np.asarray((self.amount_BK[:, [i, j]] > 0).all(axis=1))
            yield both, Alloys(self.which_BK[both][:, [i, j]], self.amount_BK[both][:, [i, j]])


def formation_enthalpy(alloys: Alloys, phase: Phase = COMPOUND) -> Floats:
    """Chemical part of the formation enthalpy [1], summed over pairs [2], in eV/atom (B,).

    Constituents that are no metals as elements (H, B, C, N, Si, P, Ge) carry their enthalpy of transformation once
    per pair, as in matminer.
    """
    total = np.zeros(len(alloys.amount_BK))
    for both, pair in alloys.pairs():
        total[both] += _pair_enthalpy(pair, phase)
    return total * KJ_PER_MOL_IN_EV


def _pair_enthalpy(pair: Alloys, phase: Phase) -> Floats:
    """kJ per mole of atoms of the whole alloy, whose `pair.amount_BK` are of these two elements."""
    phi, density = pair.of("phi"), np.cbrt(pair.of("density"))
    area = pair.of("volume") ** (2 / 3)
    surface = _surface_fractions(pair.amount_BK, area)
    gap = phi - phi[:, ::-1]
    area = area * (1 + pair.of("a") * _contact(surface, phase.order)[:, ::-1] * gap)
    surface = _surface_fractions(pair.amount_BK, area)
    p, r = _interaction(pair)
    pull = -p * gap[:, 0] ** 2 - phase.hybridisation * r + 9.4 * p * (density[:, 0] - density[:, 1]) ** 2
    eta = 2 * pull / (1 / density).sum(axis=1)
    mixing = _contact(surface, phase.order)[:, 1] * pair.amount_BK[:, 0] * area[:, 0] * eta
    return np.asarray(mixing + pair.mean(pair.of("transform")))


def _interaction(pair: Alloys) -> tuple[Floats, Floats]:
    """Miedema's P and R: by whether none, one or both are transition metals."""
    transition = pair.of("transition").sum(axis=1)
    p = np.select([transition == 2, transition == 1], [14.1, 12.35], 10.7)
    return p, np.where(transition == 1, pair.of("r").prod(axis=1) * p, 0.0)


def _surface_fractions(amount_BK: Floats, area_BK: Floats) -> Floats:
    weighted = amount_BK * area_BK
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))


def _contact(surface_B2: Floats, order: float) -> Floats:
    """How much of an atom's surface touches the element of this column, of two."""
    return np.asarray(surface_B2 * (1 + order * surface_B2.prod(axis=1, keepdims=True) ** 2))


def atomic_volumes(alloys: Alloys, phase: Phase = COMPOUND) -> Floats:
    """Volume of each constituent's cell in the alloy, cm³/mol (B, K): charge flows to the higher phi* [1].

    The cell's surface changes by the factor 1 + a f (phi* - phi* of the neighbours), with its neighbours by share.
    """
    phi, area = alloys.of("phi"), alloys.of("volume") ** (2 / 3)
    surface = _surface_fractions(alloys.amount_BK, area)
    flow = np.zeros_like(area)
    for k in range(area.shape[1]):
        share = surface[:, k, None] * (1 + phase.order * (surface * surface[:, k, None]) ** 2)
        flow += share * (phi - phi[:, k, None])
    return np.asarray((area * (1 + alloys.of("a") * flow)) ** 1.5)


def molar_volume(alloys: Alloys) -> Floats:
    """Volume of a mole of atoms of the compound, cm³/mol (B,) [1]."""
    return alloys.mean(atomic_volumes(alloys))


def volume_effect(alloys: Alloys) -> Floats:
    """Change of the volume on alloying, % of the unalloyed metals' (B,) [1]."""
    return 100 * (molar_volume(alloys) / alloys.mean(alloys.of("volume")) - 1)


def modulus(alloys: Alloys, parameter: str) -> Floats:
    """`bulk_modulus` or `shear_modulus`, GPa (B,): Hill's mean of the bounds of Voigt and Reuss by volume [4]."""
    share = _surface_fractions(alloys.amount_BK, atomic_volumes(alloys))
    moduli = alloys.of(parameter)
    compliance = np.divide(share, moduli, out=np.zeros_like(share), where=share > 0)
    return np.asarray((share * moduli).sum(axis=1) / 2 + 0.5 / compliance.sum(axis=1))


def melting_temperature(alloys: Alloys) -> Floats:
    """Where compound and melt have the same free energy, K (B,): Miedema's enthalpies [1] and Richards' rule [7].

    Meant for alloys that form compounds (a negative `formation_enthalpy`).
    """
    gain = (formation_enthalpy(alloys, LIQUID) - formation_enthalpy(alloys, COMPOUND)) / KJ_PER_MOL_IN_EV
    fusion = GAS_CONSTANT * alloys.mean(alloys.of("melting_point"))
    amount = np.where(alloys.amount_BK > 0, alloys.amount_BK, 1.0)
    mixing = -GAS_CONSTANT * (amount * np.log(amount)).sum(axis=1)
    return np.asarray((fusion + gain) / (GAS_CONSTANT + mixing))


def work_function(alloys: Alloys) -> Floats:
    """Mean of phi*, which is the metals' work function adjusted, over the cells' surfaces, eV (B,) [1]."""
    return np.asarray(
        (_surface_fractions(alloys.amount_BK, alloys.of("volume") ** (2 / 3)) * alloys.of("phi")).sum(axis=1)
    )


def debye_temperature(alloys: Alloys, mass: Floats) -> Floats:
    """Debye temperature, K (B,), from bulk modulus, volume and mean atomic mass (B,) in g/mol [5]."""
    radius = np.cbrt(3 / (4 * np.pi) * molar_volume(alloys)) * BOHR_PER_CUBE_ROOT_CM3_PER_MOL
    return np.asarray(41.63 * np.sqrt(radius * 10 * modulus(alloys, "bulk_modulus") / mass))  # GPa to kbar


def mismatch_enthalpy(alloys: Alloys) -> Floats:
    """Elastic enthalpy of a solid solution whose atoms differ in size [6], summed over pairs, eV/atom (B,)."""
    total = np.zeros(len(alloys.amount_BK))
    for both, pair in alloys.pairs():
        volume, bulk, shear = pair.of("volume"), pair.of("bulk_modulus"), pair.of("shear_modulus")[:, ::-1]
        misfit = (volume[:, 0] - volume[:, 1]) ** 2
        solute = 2 * bulk * shear * misfit[:, None] / (4 * shear * volume + 3 * bulk * volume[:, ::-1])
        amount = pair.amount_BK
        total[both] += amount.prod(axis=1) * (amount[:, ::-1] * solute).sum(axis=1)
    return total * KJ_PER_MOL_IN_EV
