"""Pictures of any size on one grid of grey levels, upright if asked for.

A picture is brought onto the grid by its areas, then drawn once more through its **frame**: the
centre of what is bright, and how far it leans. Frames can be jittered at random, which shows a
learner the same picture a little moved, leaning, turned and stretched.
"""

from dataclasses import dataclass

import numba
import numpy as np

KERNEL = {"cache": True, "nogil": True, "error_model": "numpy"}
WHITE = 255  # grey levels of the grid: 0 to this
SMALLEST, LARGEST = 4, 4096  # pixels on a side
MOVES = ("rows", "columns", "lean", "turn", "height", "width")
HALF, ONE = np.float32(0.5), np.float32(1)
# Constants of SplitMix64 (Steele, Lea and Flood, 2014), as in `kernels`.
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


@dataclass(frozen=True)
class Jitter:
    """How far a picture is moved at random, each evenly between minus and plus.

    Parameters
    ----------
    shift : float
        Grid cells, down and to the right, 0 or more.
    lean : float
        Columns a row, 0 or more.
    turn : float
        Tangent of the angle, 0 or more.
    stretch : float
        Share of height and of width, 0 or more and below 1.

    Raises
    ------
    ValueError
        For a setting out of its range.

    Examples
    --------
    >>> Jitter(shift=1.0).reach
    array([1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    shift: float = 0.0
    lean: float = 0.0
    turn: float = 0.0
    stretch: float = 0.0

    def __post_init__(self):
        """Check ranges."""
        for name in ("shift", "lean", "turn", "stretch"):
            value, most = getattr(self, name), 1.0 if name == "stretch" else np.inf
            if not 0 <= value < most:
                raise ValueError(f"{name} is {value}; allowed: 0 or more and below {most}")

    @property
    def reach(self) -> np.ndarray:
        """Largest move of each kind in `MOVES`, float32, shape (6,)."""
        kinds = (self.shift, self.shift, self.lean, self.turn, self.stretch, self.stretch)
        return np.array(kinds, np.float32)


STILL = Jitter()


@dataclass(frozen=True)
class ImageEncoder:
    """Brings pictures of any size onto a grid of grey levels.

    Parameters
    ----------
    side : int
        Rows and columns of the grid, 4 to 4096.
    upright : bool
        Centre each picture on what is bright in it and undo its lean, as handwriting asks for.
    top : float, optional
        The value of white; unless given, 255 for whole numbers and 1 for others.

    Raises
    ------
    ValueError
        For a setting out of its range.

    Examples
    --------
    >>> encoder = ImageEncoder(side=8, upright=False)
    >>> encoder(np.full((2, 20, 30), 0.5)).shape
    (2, 8, 8)
    >>> int(encoder(np.full((1, 5, 5), 0.5)).max())
    128
    """

    side: int = 28
    upright: bool = True
    top: float | None = None

    def __post_init__(self):
        """Check ranges."""
        if not SMALLEST <= self.side <= LARGEST:
            raise ValueError(f"side is {self.side}; allowed: {SMALLEST} to {LARGEST}")
        if self.top is not None and not 0 < self.top < np.inf:
            raise ValueError(f"top is {self.top}; allowed: above 0 and finite")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return pictures on the grid, drawn through their frames.

        Parameters
        ----------
        images : ndarray, shape (images, rows, columns)
            One channel; 4 to 4096 rows and columns; from 0, black, to `top`, white.

        Returns
        -------
        ndarray of uint8, shape (images, side, side)

        Raises
        ------
        ValueError
            If there is no picture, a shape or a value is not allowed, or a value is not finite.
        TypeError
            If the values are no numbers.
        """
        grids = self.grids(images)
        return draw(grids, self.frames(grids), np.arange(len(grids)))

    def grids(self, images: np.ndarray) -> np.ndarray:
        """Return pictures on the grid, not yet upright; as for a call otherwise."""
        images = np.asarray(images)
        scale = WHITE / self._checked(images)
        if images.shape[1:] == (self.side, self.side):
            resized = images.astype(np.float32)
        else:
            rows, columns = (_shares(length, self.side) for length in images.shape[1:])
            resized = _resized(_resized(images, rows, 1), columns, 2)
        return np.rint(resized * np.float32(scale)).clip(0, WHITE).astype(np.uint8)

    def frames(self, grids: np.ndarray) -> np.ndarray:
        """Return the frame of each grid: middle row and column, and lean.

        Parameters
        ----------
        grids : ndarray of uint8, shape (images, side, side)

        Returns
        -------
        ndarray of float32, shape (images, 3)
            The middle of the grid and no lean, unless pictures are to be upright.
        """
        found = np.empty((len(grids), 3), np.float32)
        found[:] = (self.side - 1) / 2, (self.side - 1) / 2, 0
        if self.upright:
            _find_frames(grids, found)
        return found

    def _checked(self, images: np.ndarray) -> float:
        """Return the value of white; raise where pictures are not what is allowed."""
        allowed = f"(images, rows, columns), one channel, {SMALLEST} to {LARGEST} rows and columns"
        if images.ndim != 3:
            hint = "; grey from colours: images.mean(axis=-1)" if images.ndim == 4 else ""
            raise ValueError(f"images have shape {images.shape}; allowed: {allowed}{hint}")
        if not len(images):
            raise ValueError("images is empty; allowed: one picture or more")
        if not all(SMALLEST <= length <= LARGEST for length in images.shape[1:]):
            raise ValueError(f"images have shape {images.shape}; allowed: {allowed}")
        if images.dtype.kind not in "buif":
            raise TypeError(f"images are {images.dtype}; allowed: whole numbers, floats or bools")
        top = self.top or (WHITE if images.dtype.kind in "ui" else 1.0)
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= top):  # also catches nan
            wrong = low if not low >= 0 else high
            raise ValueError(
                f"images hold {wrong}; allowed: 0, black, to {top:g}, white; another white is set "
                "by ImageEncoder(top=...)"
            )
        return top


def draw(
    grids: np.ndarray,
    frames: np.ndarray,
    chosen: np.ndarray,
    jitter: Jitter = STILL,
    seed: int = 0,
) -> np.ndarray:
    """Draw chosen grids through their frames.

    Parameters
    ----------
    grids : ndarray of uint8, shape (images, side, side)
    frames : ndarray of float32, shape (images, 3)
        As `ImageEncoder.frames` gives them.
    chosen : ndarray of int, shape (n,)
        Places of the pictures to draw.
    jitter : Jitter
        How far frames are moved at random.
    seed : int
        Of the moves; a picture's own depend on this and its place alone.

    Returns
    -------
    ndarray of uint8, shape (n, side, side)

    Examples
    --------
    >>> grid = np.zeros((1, 5, 5), np.uint8)
    >>> grid[0, 1] = 9  # a bar, too high
    >>> draw(grid, ImageEncoder(side=5).frames(grid), [0])[0, :, 2]
    array([0, 0, 9, 0, 0], dtype=uint8)
    """
    drawn = np.empty((len(chosen), *grids.shape[1:]), np.uint8)
    places = np.asarray(chosen, np.int64)
    _draw(grids, frames, places, jitter.reach, np.uint64(seed), drawn)
    return drawn


def _shares(length: int, side: int) -> np.ndarray:
    """Return how much of each pixel goes into each cell of an axis, float32, (side, length).

    Cells narrower than a pixel take from the two pixels whose middles are nearest; wider ones
    average the pixels that they cover.
    """
    edges = np.linspace(0, length, side + 1)
    if side > length:
        middles = ((edges[:-1] + edges[1:]) / 2).clip(0.5, length - 0.5)
        distance = np.abs(middles[:, None] - (np.arange(length) + 0.5))
        return np.maximum(1 - distance, 0).astype(np.float32)
    pixels = np.arange(length)
    low, high = edges[:-1, None], edges[1:, None]
    covered = np.minimum(high, pixels + 1) - np.maximum(low, pixels)
    return (np.maximum(covered, 0) * side / length).astype(np.float32)


def _resized(images: np.ndarray, shares: np.ndarray, axis: int) -> np.ndarray:
    """Return images with one axis brought onto the cells of a grid."""
    moved = np.moveaxis(images, axis, 0)
    cells = np.zeros((len(shares), *moved.shape[1:]), np.float32)
    for cell, row in zip(cells, shares, strict=True):
        for pixel in np.flatnonzero(row):
            cell += row[pixel] * moved[pixel]
    return np.moveaxis(cells, 0, axis)


@numba.njit(**KERNEL)
def _find_frames(grids, frames):
    """Write centre and lean of what is bright; a black grid keeps the frame that it has."""
    for k in range(len(grids)):
        grid, total, row_sum, column_sum = grids[k], 0.0, 0.0, 0.0
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                level = np.float64(grid[i, j])
                total += level
                row_sum += level * i
                column_sum += level * j
        if total == 0:
            continue
        middle, column = row_sum / total, column_sum / total
        tall, slanted = 0.0, 0.0
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                level = np.float64(grid[i, j])
                tall += level * (i - middle) ** 2
                slanted += level * (i - middle) * (j - column)
        frames[k, 0], frames[k, 1] = middle, column
        frames[k, 2] = slanted / tall if tall > 0 else 0.0


@numba.njit(inline="always")
def _random_bits(seed, counter):
    mixed = seed + (np.uint64(counter) + np.uint64(1)) * _STEP
    mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT_3)


@numba.njit(inline="always")
def _level(grid, row, column):
    """Return the grey level between four cells; outside of the grid all is black."""
    height, width = grid.shape
    top, left = np.floor(row), np.floor(column)
    down, right = row - top, column - left
    i, j = np.int64(top), np.int64(left)
    total = np.float32(0)
    for di in range(2):
        for dj in range(2):
            if 0 <= i + di < height and 0 <= j + dj < width:
                share = (down if di else ONE - down) * (right if dj else ONE - right)
                total += np.float32(grid[i + di, j + dj]) * share
    return total


@numba.njit(**KERNEL)
def _draw(grids, frames, chosen, reach, seed, drawn):
    moves = np.zeros(len(reach), np.float32)
    for n in range(len(chosen)):
        k = chosen[n]
        for move in range(len(reach)):
            unit = np.float64(_random_bits(seed, k * len(reach) + move) >> np.uint64(11)) / 2.0**52
            moves[move] = reach[move] * np.float32(unit - 1)
        side = drawn.shape[1]
        middle = np.float32((side - 1) / 2)
        row, column, lean = frames[k]
        for i in range(side):
            for j in range(side):
                u = (np.float32(i) - middle - moves[0]) * (ONE + moves[4])
                v = (np.float32(j) - middle - moves[1]) * (ONE + moves[5])
                down, right = u + moves[3] * v, v - moves[3] * u
                right += (lean + moves[2]) * down
                level = _level(grids[k], down + row, right + column)
                drawn[n, i, j] = np.uint8(level + HALF)
