"""The frozen types of a catalog entry; the entries themselves are data files beside this module."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xtlray.records import Split


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PublishedFile(_Entry):
    """Where one published file lies, and what proves that a download is that file."""

    split: Split = Field(description="the side that its publishers gave its rows")
    repository: str = Field(description="owner/name on GitHub")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    path: str
    git_blob: str = Field(pattern=r"^[0-9a-f]{40}$", description="SHA-1 of `blob <length>\\0` and the bytes")


class Reference(_Entry):
    """Published test errors (MAE, in the dataset's unit) to hold one's own against.

    From Tables 4 and 5 of Gupta et al., Nat. Commun. 12, 6595 (2021), doi:10.1038/s41467-021-26921-5. Two figures of
    the same model differ by about 2.5 % between runs.
    """

    base: float = Field(description="the mean of the training targets as the answer")
    best_scratch: float = Field(description="the best model trained from scratch, physical attributes allowed")
    best_transfer: float = Field(description="the best transfer model, elemental fractions only")


class DatasetInfo(_Entry):
    """A dataset known by name: what its property is, where it comes from, how it is to be cut."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*/[a-z0-9][a-z0-9_.-]*$", description="<source>/<property>")
    label: str = Field(description="the property's long name, for titles")
    symbol: str | None = Field(None, description="its short name, for axes; the paper's where there is one")
    unit: str | None = Field(description="None where not known; `1` where dimensionless")
    unit_note: str | None = Field(None, description="where the unit comes from, where that is not plain")
    plausible: tuple[float, float] | None = Field(
        None, description="physically possible values, generously; those outside are kept and counted"
    )
    columns: tuple[str, ...] = Field((), description="what the target's column is called in published files")
    protocol: Literal["pool", "published"] = Field(
        description="`pool`: all rows are cut anew by composition; `published`: the published test rows are kept"
    )
    licence: str | None = None
    citation: str | None = None
    source: str | None = Field(None, description="where it comes from, with its URL")
    description: str | None = None
    warning: str | None = None
    rows: tuple[int | None, int | None] = Field(
        (None, None), description="rows of the published training and test files, None where not counted"
    )
    reference: Reference | None = None
    files: tuple[PublishedFile, ...] = Field((), description="empty where it comes with the package")

    @property
    def property(self) -> str:
        """The property's short name, the part of the name after the slash."""
        return self.name.split("/", 1)[1]

    @model_validator(mode="after")
    def _consistent(self) -> DatasetInfo:
        if self.plausible and not self.plausible[0] < self.plausible[1]:
            raise ValueError(f"{self.name}: the plausible range is empty: {self.plausible}")
        if self.unit is None and not self.unit_note:
            raise ValueError(f"{self.name}: say in `unit_note` that the unit is not known, and why")
        return self
