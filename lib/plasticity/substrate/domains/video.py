"""Films and how they reach the graph: things that move, noise, and two eyes.

Places are told in shorter sides of the picture and times in lengths of the film, so a motion is the
same for any number of frames and any size. `FrameEncoder` sees where light is in a few frames;
`MotionEncoder` sees with what velocity everything moves, wherever it is.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEAST_LEFT = 0.1  # below this share of a wave's energy, more compensation would only raise noise
SQUARE = np.ones((28, 28), np.float32)
SQUARE.setflags(write=False)


def shape(random: np.random.Generator) -> np.ndarray:
    """Return a picture of a bright rectangle or ellipse, float32, shape (28, 28).

    Examples
    --------
    >>> shape(np.random.default_rng(0)).shape
    (28, 28)
    """
    y, x = np.abs(np.mgrid[-13.5:14, -13.5:14]) / random.uniform(6, 14, (2, 1, 1))
    inside = x**2 + y**2 <= 1 if random.random() < 0.5 else np.maximum(x, y) <= 1
    return inside.astype(np.float32)


def velocity(direction: float, speed: float) -> np.ndarray:
    """Return a velocity as (down, right), float64, shape (2,), in shorter sides a film.

    Parameters
    ----------
    direction : float
        In degrees, counter-clockwise from right: 90 is up.
    speed : float
        In shorter sides a film.

    Examples
    --------
    >>> velocity(90, 0.5).round(3).tolist()
    [-0.5, 0.0]
    """
    angle = np.deg2rad(direction)
    return speed * np.array([-np.sin(angle), np.cos(angle)])


def film(
    picture: np.ndarray,
    shape: tuple[int, int, int],
    motion: np.ndarray,
    random: np.random.Generator,
    size: float = 0.25,
    centred: bool = False,
) -> np.ndarray:
    """Return a film of a picture that moves over a black ground and stays inside.

    Parameters
    ----------
    picture : ndarray of float, shape (height, width)
        From 0 to 1; each pixel of the film takes the mean of what falls on it.
    shape : tuple of (int, int, int)
        Frames, 2 or more, height and width of the film.
    motion : ndarray of float64, shape (2,)
        As `velocity` gives it.
    random : Generator
        Draws where it starts.
    size : float
        Side of the picture in shorter sides of the film.
    centred : bool
        The path passes through the middle of the film, up to a tenth beside it.

    Returns
    -------
    ndarray of float32, shape (frames, height, width)

    Raises
    ------
    ValueError
        If the shape is too small, or the path too long to stay inside.

    Examples
    --------
    >>> film(SQUARE, (4, 16, 20), velocity(0, 0.5), np.random.default_rng(0)).shape
    (4, 16, 20)
    """
    frames, *sides = shape
    if frames < 2 or min(sides) < 4:
        raise ValueError(f"shape is {shape}; allowed: 2 frames or more, sides of 4 or more")
    shorter = min(sides)
    travel, room = motion * shorter, np.array(sides, float) - size * shorter
    if np.any(np.abs(travel) > room):
        raise ValueError(
            f"motion is {motion} and size {size}; allowed: paths that fit into {shape}, "
            f"at most {room / shorter} long"
        )
    slack = room - np.abs(travel)
    share = 0.5 + random.uniform(-0.1, 0.1, 2) if centred else random.random(2)
    start = slack * share + np.maximum(-travel, 0)
    corners = start + travel * np.linspace(0, 1, frames)[:, None]
    edges = [
        (np.arange(sides[axis] + 1) - corners[:, axis, None]) / (size * shorter) for axis in (0, 1)
    ]
    return _exposed(picture, *edges)


def _exposed(picture: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the mean of a picture over each pixel of each frame: no light is lost or jumps.

    Parameters
    ----------
    picture : ndarray of float, shape (height, width)
        Black beyond its edges.
    down, right : ndarray of float64, shape (frames, pixels + 1)
        Edges of the pixels, in sides of the picture from its corner.
    """
    height, width = picture.shape
    light = np.zeros((height + 1, width + 1))
    light[1:, 1:] = picture.cumsum(axis=0, dtype=float).cumsum(axis=1)
    places = [np.clip(down * height, 0, height), np.clip(right * width, 0, width)]
    below = [
        np.minimum(place.astype(int), last)
        for place, last in zip(places, (height - 1, width - 1), strict=True)
    ]
    row, column = below[0][:, :, None], below[1][:, None, :]
    share_down, share_right = (places[0] - below[0])[:, :, None], (places[1] - below[1])[:, None, :]
    upper = light[row, column] * (1 - share_right) + light[row, column + 1] * share_right
    lower = light[row + 1, column] * (1 - share_right) + light[row + 1, column + 1] * share_right
    until = upper * (1 - share_down) + lower * share_down  # light above and left of each corner
    area = np.diff(down[0])[0] * height * np.diff(right[0])[0] * width
    return (np.diff(np.diff(until, axis=1), axis=2) / area).astype(np.float32)


def texture(
    shape: tuple[int, int, int], motion: np.ndarray, random: np.random.Generator, waves: int = 4
) -> np.ndarray:
    """Return a film of a cloudy ground that drifts as a whole, and comes in again where it leaves.

    Parameters
    ----------
    shape : tuple of (int, int, int)
        Frames, height, width.
    motion : ndarray of float64, shape (2,)
        Of the whole ground; zeros for one that stays.
    random : Generator
        Draws the waves that it is made of.
    waves : int
        Most waves in a shorter side.

    Returns
    -------
    ndarray of float32, shape (frames, height, width)
        Of mean 0 and variance 1.

    Examples
    --------
    >>> texture((3, 8, 8), velocity(0, 0.0), np.random.default_rng(0)).shape
    (3, 8, 8)
    """
    frames, height, width = shape
    down, right = _frequencies(height, width)
    near = np.hypot(down, right)
    drawn = random.standard_normal((2, *near.shape)) * ((near > 0) & (near <= waves))
    cycles = motion[0] * down + motion[1] * right
    time = np.linspace(0, 1, frames)[:, None, None]
    spectra = (drawn[0] + 1j * drawn[1]) * np.exp(-2j * np.pi * cycles * time)
    clip = np.fft.irfft2(spectra, (height, width))
    return (clip / clip[0].std()).astype(np.float32)


def _frequencies(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies of a real transform in waves a shorter side, down and right."""
    shorter = min(height, width)
    return np.fft.fftfreq(height)[:, None] * shorter, np.fft.rfftfreq(width)[None, :] * shorter


def noisy(clip: np.ndarray, snr: float, random: np.random.Generator) -> np.ndarray:
    """Return a film with white noise in every pixel of every frame.

    Parameters
    ----------
    clip : ndarray of float32, shape (frames, height, width)
    snr : float
        Variance of the film over that of the noise, in decibels; ``inf`` adds none.
    random : Generator
        Draws the noise.

    Examples
    --------
    >>> clip = film(SQUARE, (4, 16, 16), velocity(0, 0.5), np.random.default_rng(0))
    >>> noisy(clip, 0, np.random.default_rng(0)).std() > clip.std()
    np.True_
    """
    if np.isinf(snr):
        return clip
    deviation = np.float32(clip.std() / 10 ** (snr / 20))
    return clip + deviation * random.standard_normal(clip.shape, dtype=np.float32)


def _checked(clip: np.ndarray) -> np.ndarray:
    clip = np.asarray(clip, np.float32)
    if clip.ndim != 3 or len(clip) < 2:
        raise ValueError(
            f"clip has shape {clip.shape}; allowed: (frames, height, width) with 2 frames or more"
        )
    return clip


@dataclass(frozen=True)
class FrameEncoder:
    """An eye for places: a few frames, spread evenly over the film, each on a coarse grid.

    Parameters
    ----------
    frames : int
        Frames that are looked at, 1 or more.
    side : int
        Fields of the grid in each direction, 1 or more; each is the mean of its pixels.

    Examples
    --------
    >>> clip = film(SQUARE, (9, 24, 30), velocity(0, 0.5), np.random.default_rng(0))
    >>> FrameEncoder(frames=4, side=6)(clip).shape
    (4, 6, 6)
    """

    frames: int = 4
    side: int = 6

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the grid of a film.

        Parameters
        ----------
        clip : ndarray of float, shape (frames, height, width)
            At least 2 frames, and as many pixels in each direction as the grid has fields.

        Returns
        -------
        ndarray of float32, shape (self.frames, side, side)
            From 0 to 1: above the film's mean, as a share of the brightest field.

        Raises
        ------
        ValueError
            If the film has another number of dimensions, or is too small.
        """
        clip = _checked(clip)
        if min(clip.shape[1:]) < self.side:
            raise ValueError(
                f"clip has shape {clip.shape}; allowed: sides of {self.side} pixels or more"
            )
        chosen = clip[np.linspace(0, len(clip) - 1, self.frames).round().astype(int)]
        for axis in (1, 2):
            length = chosen.shape[axis]
            starts = np.linspace(0, length, self.side + 1).astype(int)
            sums = np.add.reduceat(chosen, starts[:-1], axis=axis)
            shape = [-1 if i == axis else 1 for i in range(3)]
            chosen = sums / np.diff(starts).reshape(shape)
        level = np.maximum(chosen - chosen.mean(), 0)
        return (level / (level.max() or 1)).astype(np.float32)


@dataclass(frozen=True)
class MotionEncoder:
    """An eye for motion: the energy at each of a ring of velocities, wherever it is.

    Something that moves with velocity v keeps its amplitude in every wave and turns its phase
    evenly. A cell for v turns the phases back, adds the frames up and takes the energy of the sum:
    what moves like that adds up, all else cancels (Adelson and Bergen, 1985). What does not move at
    all is taken out first, and a wave that this leaves a cell little of counts for the more.

    Parameters
    ----------
    directions : int
        Directions of the cells, 1 or more, evenly spaced from right, counter-clockwise.
    speeds : tuple of float
        Their speeds in shorter sides a film, above 0.
    waves : int
        Highest spatial frequency in waves a shorter side, 1 or more.

    Examples
    --------
    >>> eye = MotionEncoder(directions=8, speeds=(0.25, 0.5))
    >>> clip = film(SQUARE, (9, 24, 30), velocity(90, 0.5), np.random.default_rng(0))
    >>> grid = eye(clip)
    >>> grid.shape, np.unravel_index(grid.argmax(), grid.shape)[0] == 1, int(grid[1].argmax())
    ((2, 8), np.True_, 2)
    """

    directions: int = 16
    speeds: tuple[float, ...] = (0.11, 0.15, 0.21, 0.3, 0.42, 0.6)
    waves: int = 10

    def __post_init__(self):
        """Check ranges."""
        if self.directions < 1 or self.waves < 1 or not self.speeds or min(self.speeds) <= 0:
            raise ValueError(
                f"directions is {self.directions}, waves {self.waves}, speeds {self.speeds}; "
                "allowed: 1 or more, 1 or more, one or more above 0"
            )

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the grid of a film.

        Parameters
        ----------
        clip : ndarray of float, shape (frames, height, width)
            At least 2 frames.

        Returns
        -------
        ndarray of float32, shape (speeds, directions)
            From 0, no more energy than the mean of all cells, to 1, the strongest cell.

        Raises
        ------
        ValueError
            If the film has another number of dimensions, or a single frame.
        """
        energy = self.energies(clip)
        level = np.maximum(energy - energy.mean(), 0)
        return (level / (level.max() or 1)).astype(np.float32)

    def energies(self, clip: np.ndarray) -> np.ndarray:
        """Return each cell's energy, float64, shape (speeds, directions)."""
        clip = _checked(clip)
        rows, columns, turns, left = _tuning(clip.shape, self.directions, self.speeds, self.waves)
        spectra = np.fft.rfft2(clip - clip.mean(axis=0))[:, rows, columns].astype(np.complex64)
        total = np.zeros(turns.shape, np.complex64)
        for spectrum in spectra[::-1]:  # Horner's rule: one turn a frame
            total *= turns
            total += spectrum
        energy = np.sum((total.real**2 + total.imag**2) / left, axis=1, dtype=float)
        return energy.reshape(len(self.speeds), self.directions)


@lru_cache(maxsize=32)
def _tuning(shape: tuple[int, int, int], directions: int, speeds: tuple[float, ...], waves: int):
    """Return rows and columns of the waves that are looked at, and what each cell does with them.

    That is, of shape (cells, waves): its turn a frame, complex64, and the share of the energy of
    something with its velocity that is left when the mean over the film is taken out, float32.
    """
    frames, height, width = shape
    down, right = _frequencies(height, width)
    half = (right > 0) | (down > 0)  # the other half holds the same waves
    rows, columns = np.nonzero((np.hypot(down, right) <= waves) & half)
    angles = np.arange(directions) * 360 / directions
    motions = np.array([velocity(angle, speed) for speed in speeds for angle in angles])
    cycles = motions[:, :1] * down[rows, 0] + motions[:, 1:] * right[0, columns]
    turns = np.exp(2j * np.pi * cycles / (frames - 1))
    mean = sum(turns**frame for frame in range(frames)) / frames
    left = np.maximum(1 - np.abs(mean) ** 2, LEAST_LEFT)
    return rows, columns, turns.astype(np.complex64), left.astype(np.float32)
