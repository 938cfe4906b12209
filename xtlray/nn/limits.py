"""How large a model may say it is: the one place for all limits that a file from a stranger is held to.

What a card says decides what is read, built and computed, before anyone has looked at the model. So each figure in it
is held to one of these first; they lie well beyond what the methods here make.
"""

from __future__ import annotations

MOST_CARD_BYTES = 4 * 2**20
MOST_MODEL_BYTES = 4 * 2**30  # of all files of a model together
MOST_FILES = 2000
MOST_MEMBERS = 1000
MOST_PROPERTIES = 1000
MOST_GOLDEN = 100  # formulas
MOST_BLOCKS = 256  # of columns that a member reads
MOST_SOURCES = 10_000  # that members name, all members together

MOST_LAYERS = 512
MOST_WIDTH = 2**17  # units of a layer, or of the input
MOST_HEADER_BYTES = 16 * 2**20  # of a safetensors file: names, types and shapes of its tensors

# Of the skops file of a scikit-learn head, a zip archive.
MOST_ENTRIES = 100_000
MOST_EXPANSION = 20  # unpacked bytes for each byte of the file
MOST_SCHEMA_BYTES = 256 * 2**20
