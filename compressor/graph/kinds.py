"""The words of the table of operations: what can become of a tensor.

`compressor.graph.operations` is the table; every room has its own rule for each `Kind`.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """Effect of an operation on the dimensions of a tensor."""

    POINTWISE = "Entry by entry, with broadcasting"
    COPIES = "The same values in other memory, or in another data type"
    DROPOUT = "Entry by entry; in evaluation the very tensor that came in"
    MAKES = "A constant that takes nothing of a tensor but its type and device"
    VIEWS = "The same entries, in the same order, in a shape that is written down"
    SHAPED = "As `VIEWS`, in the shape of another tensor"
    MOVES = "Some of the entries, perhaps several times, in an order that sizes alone decide"
    SHUFFLES = "Channels taken from groups in turn"
    JOINS = "Tensors one behind the other"
    STACKS = "Tensors along a new dimension"
    ASSIGNS = "Values written into a tensor that is there already"
    APART = "Something along the dimensions that are named (or the last), all others apart"
    INDEXES = "Entries taken, or replaced, by tensors of numbers, one a dimension"
    APPENDS = "One more dimension behind the others"
    PAIRS = "Two entries of the last dimension as one complex number, or back"
    COLUMNS = "Windows of every channel as so many channels, or back"
    SAMPLES = "Every channel at the points that another tensor names"
    SEARCHES = "A place among sorted numbers, entry by entry"
    COMPARES = "One entry in the place of a dimension of two tensors"
    CUTS = "Parts of a dimension"
    SELECTS = "One entry of a dimension"
    PICKS = "Entries of a dimension by their position"
    GATES = "One half of a dimension as a gate of the other"
    PADS = "More entries on either side of any dimension"
    WINDOWS = "Pooling, resampling or padding of the last dimensions (`Row.spatial`)"
    REDUCES = "One entry, or a pair, in the place of a dimension"
    RANKS = "The entries of a dimension by size, and where they were"
    SCANS = "As many entries as before, each of which depends on others"
    TRANSFORMS = "Fourier transforms along some dimensions, which may change their sizes"
    LAYER_NORM = "The last dimensions by their common mean and variance, with weights of its own"
    GROUP_NORM = "Groups of channels, likewise"
    BATCH_NORM = "Every channel by its own mean and variance"
    PRELU = "Entry by entry, with one slope for all or one a channel"
    CONVOLUTION = "A convolution with a weight (out, in / groups, ...)"
    TRANSPOSED = "A transposed convolution with a weight (in, out / groups, ...)"
    LINEAR = "A product with a weight (out, in)"
    PRODUCT = "A product of two vectors or matrices, of which the second may be a weight (in, out)"
    OUTER = "Products of every entry of a vector with every entry of another"
    BATCHED = "Products of the matrices in two tensors, perhaps with a third one added"
    EINSUM = "A product by letters for dimensions"
    ATTENTION = "Products of queries and keys, and of what comes of them and values"
    WEIGHT_NORM = "A direction over its norm across all dimensions but one, times a size there"
    BILINEAR = "A bilinear layer"
    RECURRENT = "A recurrent layer"
    EMBEDDING = "Rows of a weight by their numbers"
    BAGS = "Sums, means or maxima of such rows, one for every list of numbers"
    REINTERPRETS = "A form of an operation that is not what its name says"
    OPAQUE = "It multiplies no matrices; of dimensions nothing is known"
    UNKNOWN = "Nothing is known about it"


ENTRYWISE = frozenset({Kind.POINTWISE, Kind.COPIES, Kind.DROPOUT, Kind.PRELU})
"""Kinds whose forms in place (``relu_``) do what the plain ones do, in the shape that there is."""

ACROSS = frozenset(
    {Kind.REDUCES, Kind.RANKS, Kind.SCANS, Kind.LAYER_NORM, Kind.GROUP_NORM, Kind.BATCH_NORM}
    | {Kind.WEIGHT_NORM}
)
"""Kinds that look across a dimension. What the tracer lets pass because "it sees the kept entries
only" is what the masked original has to compute over the kept entries only."""

MULTIPLYING = frozenset(
    {Kind.CONVOLUTION, Kind.TRANSPOSED, Kind.LINEAR, Kind.PRODUCT, Kind.BATCHED, Kind.UNKNOWN}
    | {Kind.BILINEAR, Kind.RECURRENT, Kind.EINSUM, Kind.ATTENTION, Kind.TRANSFORMS}
)
"""Kinds that cost multiply-accumulates, or may: a Fourier transform of weights is not counted, and
not passed over either."""


class Zeros(Enum):
    """Fate of channels that are zero, in an operation that keeps channels apart."""

    STAY = "Zero where all operands are"
    SUM = "Zero where all operands are and none is a constant"
    PRODUCT = "Zero where any operand is"
    QUOTIENT = "Zero where the first operand is, as long as the other is a constant"
    FILLED = "Zero may become something"


class Rounding(Enum):
    """Effect of an operation on values that stand on a grid of integers."""

    LEFT = "Its result is rounded only where a layer reads it"
    MOVED = "Its results are some of its input's values"
    DROPPED = "Likewise; conversion takes it out"
    JOINED = "Its result is rounded where all that it works on is: runtimes have a kernel for it"
    PAIR = "Likewise, of exactly two tensors"
    CUT = "Likewise, and it costs nothing where the quantiser comes behind it: the grid ends there"
    AVERAGED = "Likewise, where it averages whole windows inside every channel"


class Sign(Enum):
    """When a result cannot be negative."""

    UNKNOWN = "Nothing is known about it"
    NEVER = "It never is"
    LIMITED = "Where the lower limit, its second argument, is not"
    KEPT = "Where nothing that it takes is"


class Positions(Enum):
    """Result of a reduction that is a position along the dimension that it reduces."""

    SECOND = "The second of a pair"
    NONE = "None: a pair is two values"
    ONLY = "All that it gives"
