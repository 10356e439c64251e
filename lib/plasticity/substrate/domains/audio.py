"""Sounds and how they reach the graph: tones, notes of instruments, noise, and an ear.

A frequency is heard in hertz, on an axis that does not depend on the sample rate, and the length of
a sound decides how sharply, never where: so any rate and any duration fill the same grid.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

A4 = 440.0  # hertz
DYNAMIC_RANGE = 1e-4  # power below the loudest band's by this factor is silence: 40 dB
OVERSAMPLING = 2  # spectral lines within the narrowest band, at least
PARTIALS = 20  # of a note at most; those above are weak


@dataclass(frozen=True)
class Instrument:
    """How the partials of a note are laid out.

    Parameters
    ----------
    slope : float
        Partial number h has the amplitude h ** -slope.
    peak : int
        Partials below it get weaker again, as in brass; 1 for none.
    odd : bool
        Even partials are missing, as in a clarinet.
    first : int
        Partials below it are missing; at 1 the fundamental sounds.
    stiffness : float
        Partial h lies at h * sqrt(1 + stiffness * h * h) fundamentals, as in a piano.
    decay : float
        The envelope falls by this many e-folds over the sound; 0 for a held note.
    """

    slope: float = 1.0
    peak: int = 1
    odd: bool = False
    first: int = 1
    stiffness: float = 0.0
    decay: float = 0.0

    def partials(self, highest: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the ratios to the fundamental and the amplitudes, float64, of each partial.

        Parameters
        ----------
        highest : float
            Ratio that no partial may exceed.

        Examples
        --------
        >>> Instrument(odd=True).partials(6.0)[0]
        array([1., 3., 5.])
        """
        number = np.arange(self.first, PARTIALS + 1)
        number = number[number % 2 == 1] if self.odd else number
        ratio = number * np.sqrt(1 + self.stiffness * number**2)
        amplitude = number**-self.slope * np.minimum(1.0, (number / self.peak) ** 2)
        audible = ratio <= highest
        return ratio[audible], amplitude[audible]


PURE = Instrument(slope=100.0)


def semitone(number: int) -> float:
    """Return the frequency in hertz of an equal-tempered semitone, counted from A4.

    Examples
    --------
    >>> semitone(0), semitone(12), round(semitone(-9), 1)
    (440.0, 880.0, 261.6)
    """
    return A4 * 2.0 ** (number / 12)


def note(
    frequency: float,
    duration: float,
    rate: int,
    random: np.random.Generator,
    instrument: Instrument = PURE,
    vibrato: float = 0.0,
) -> np.ndarray:
    """Return a note with random phases.

    Parameters
    ----------
    frequency : float
        Of the fundamental, in hertz, above 0 and below half the rate.
    duration : float
        In seconds; at least two samples.
    rate : int
        Samples a second.
    random : Generator
        Draws the phases.
    instrument : Instrument
        A pure tone by default.
    vibrato : float
        Half its width in semitones; its speed is drawn between 5 and 7 hertz.

    Returns
    -------
    ndarray of float64, shape (samples,)
        Of mean power 1.

    Raises
    ------
    ValueError
        If the frequency or the number of samples is out of range.

    Examples
    --------
    >>> note(440.0, 0.1, 8000, np.random.default_rng(0)).shape
    (800,)
    """
    samples = round(duration * rate)
    if not 0 < frequency < rate / 2:
        raise ValueError(
            f"frequency is {frequency}; allowed: above 0 and below {rate / 2}, half the rate"
        )
    if samples < 2:
        raise ValueError(
            f"duration is {duration}, {samples} samples at {rate} a second; allowed: 2 or more"
        )
    time = np.arange(samples) / rate
    phase = 2 * np.pi * frequency * time
    if vibrato:
        speed, start = 2 * np.pi * random.uniform(5, 7), random.uniform(0, 2 * np.pi)
        deviation = frequency * (2 ** (vibrato / 12) - 1)
        phase += 2 * np.pi * deviation / speed * np.sin(speed * time + start)
    ratios, amplitudes = instrument.partials(0.45 * rate / frequency)
    if instrument is PURE or not len(ratios):
        ratios, amplitudes = np.ones(1), np.ones(1)
    starts = random.uniform(0, 2 * np.pi, len(ratios))
    signal = np.zeros(samples)
    for ratio, amplitude, start in zip(ratios, amplitudes, starts, strict=True):
        signal += amplitude * np.sin(ratio * phase + start)
    if instrument.decay:
        signal *= np.exp(-instrument.decay * np.arange(samples) / samples)
    return signal / np.sqrt(np.mean(signal**2))


def reverberated(
    signal: np.ndarray, rate: int, seconds: float, random: np.random.Generator
) -> np.ndarray:
    """Return a sound as a room of random echoes gives it back, of the same length and power 1.

    Parameters
    ----------
    signal : ndarray of float64, shape (samples,)
    rate : int
        Samples a second.
    seconds : float
        Time in which the echoes fall by 60 dB; the echoes together are as strong as the sound.
    random : Generator
        Draws the room.

    Examples
    --------
    >>> dry = note(440.0, 0.1, 8000, np.random.default_rng(0))
    >>> reverberated(dry, 8000, 0.3, np.random.default_rng(1)).shape
    (800,)
    """
    length = max(2, round(seconds * rate))
    echoes = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echoes /= np.sqrt(np.sum(echoes**2))
    echoes[0] += 1
    size = _next_power(len(signal) + length)
    wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(echoes, size), size)[: len(signal)]
    return wet / np.sqrt(np.mean(wet**2))


def noisy(
    signal: np.ndarray, snr: float, random: np.random.Generator, pink: bool = False
) -> np.ndarray:
    """Return a sound with noise added.

    Parameters
    ----------
    signal : ndarray of float64, shape (samples,)
    snr : float
        Power of the sound over that of the noise, both over the whole band up to half the sample
        rate, in decibels; ``inf`` adds none.
    random : Generator
        Draws the noise.
    pink : bool
        Power falls with frequency, as it does in music and in rooms; white noise otherwise.

    Examples
    --------
    >>> sound = note(440.0, 0.5, 8000, np.random.default_rng(0))
    >>> noise = noisy(sound, 10, np.random.default_rng(1)) - sound
    >>> round(float(10 * np.log10(np.mean(sound**2) / np.mean(noise**2))), 6)
    10.0
    """
    if np.isinf(snr):
        return signal
    noise = random.standard_normal(len(signal))
    if pink:
        size = _next_power(len(noise))  # what is drawn beyond the sound is cut off again
        spectrum = np.fft.rfft(noise, size)
        spectrum[0] = 0
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, size)[: len(signal)]
    power = np.mean(signal**2) / 10 ** (snr / 10)
    return signal + noise * np.sqrt(power / np.mean(noise**2))


@dataclass(frozen=True)
class AudioEncoder:
    """An ear: a sound of any rate and duration becomes a grid of frames and bands.

    The sound is cut into overlapping frames that share its duration; of each, the power in each
    band is set against the median of the bands around it and taken in decibels, so that neither
    loudness nor the colour of the noise matters.

    Parameters
    ----------
    low, high : float
        Range of the bands in hertz, above 0.
    bands : int
        Their number, 2 or more.
    frames : int
        Parts that the duration is cut into; more of them blur the frequencies of short sounds.
    logarithmic : bool
        Bands of equal ratio, as in music and in the ear, or of equal width.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> ear = AudioEncoder(low=330, high=1320, bands=24)
    >>> grid = ear(note(660.0, 0.3, 16000, np.random.default_rng(0)), 16000)
    >>> grid.shape, int(grid.argmax())
    ((1, 24), 12)
    """

    low: float = 110.0
    high: float = 3520.0
    bands: int = 180
    frames: int = 1
    logarithmic: bool = True

    def __post_init__(self):
        """Check ranges."""
        if not 0 < self.low < self.high:
            raise ValueError(f"low is {self.low}, high {self.high}; allowed: 0 < low < high")
        if self.bands < 2 or self.frames < 1:
            raise ValueError(
                f"bands is {self.bands}, frames {self.frames}; allowed: 2 and 1, or more"
            )

    @property
    def edges(self) -> np.ndarray:
        """Bounds of the bands in hertz, float64, shape (bands + 1,)."""
        space = np.geomspace if self.logarithmic else np.linspace
        return space(self.low, self.high, self.bands + 1)

    def __call__(self, signal: np.ndarray, rate: int) -> np.ndarray:
        """Return the grid of a sound.

        Parameters
        ----------
        signal : ndarray of float, shape (samples,)
        rate : int
            Samples a second. Bands above half of it stay silent.

        Returns
        -------
        ndarray of float32, shape (frames, bands)
            From 0, no louder than its neighbourhood, to 1, the clearest band of the frame.

        Raises
        ------
        ValueError
            If the sound has fewer than two samples a frame, or the rate is not positive.
        """
        signal = np.asarray(signal, float)
        if signal.ndim != 1 or len(signal) < 2 * self.frames or rate <= 0:
            raise ValueError(
                f"signal has shape {signal.shape} and the rate {rate}; allowed: one row of "
                f"{2 * self.frames} samples or more, at a rate above 0"
            )
        power = self.powers(signal, rate)
        loudest = power.max(axis=1, keepdims=True)
        floor = np.maximum(_running_median(power), DYNAMIC_RANGE * loudest)
        level = np.log(np.maximum(power, 1e-30) / np.maximum(floor, 1e-30))
        level = np.maximum(level, 0)
        clearest = level.max(axis=1, keepdims=True)
        return (level / np.where(clearest > 0, clearest, 1)).astype(np.float32)

    def powers(self, signal: np.ndarray, rate: int) -> np.ndarray:
        """Return the power in each band, float64, shape (frames, bands)."""
        length = len(signal) if self.frames == 1 else int(2 * len(signal) / (self.frames + 1))
        starts = np.linspace(0, len(signal) - length, self.frames).astype(int)
        parts = signal[starts[:, None] + np.arange(length)]
        return spectral_peaks(parts, rate, self.edges)


def spectral_peaks(signals: np.ndarray, rate: int, edges: np.ndarray) -> np.ndarray:
    """Return the highest spectral line in each band, under a Hann window.

    Parameters
    ----------
    signals : ndarray of float64, shape (signals, samples)
    rate : int
        Samples a second.
    edges : ndarray of float64, shape (bands + 1,)
        Bounds of the bands in hertz, ascending. A band above half the rate is silent.

    Returns
    -------
    ndarray of float64, shape (signals, bands)
        Power.

    Examples
    --------
    >>> tone = note(440.0, 0.5, 8000, np.random.default_rng(0))
    >>> int(spectral_peaks(tone[None], 8000, np.array([100, 300, 500, 700.0])).argmax())
    1
    """
    length = signals.shape[1]
    size = _next_power(max(length, OVERSAMPLING * rate / np.diff(edges).min()))
    windowed = (signals - signals.mean(axis=1, keepdims=True)) * np.hanning(length + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft(windowed, size)) ** 2
    first, last = _lines(edges.tobytes(), size, rate)
    # A line of zeros behind the last makes bands above half the rate silent.
    spectrum = np.pad(spectrum, ((0, 0), (0, 1)))
    bounds = np.stack([first, last], axis=1).ravel()
    return np.maximum.reduceat(spectrum, bounds, axis=1)[:, ::2]


def _next_power(length: float) -> int:
    """Return the power of two that is at least a length: such transforms are quick."""
    return 1 << int(np.ceil(np.log2(max(2, length))))


@lru_cache(maxsize=64)
def _lines(edges: bytes, size: int, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first spectral line of each band, and the one after its last."""
    places = np.frombuffer(edges) * size / rate
    beyond = size // 2 + 1
    first = np.minimum(np.ceil(places[:-1]).astype(int), beyond)
    last = np.minimum(np.maximum(np.ceil(places[1:]).astype(int), first + 1), beyond)
    return first, last


def _running_median(power: np.ndarray) -> np.ndarray:
    """Return the median of each band's neighbourhood, a third of all bands on each side at most."""
    reach = max(1, min(18, power.shape[1] // 3))
    padded = np.pad(power, ((0, 0), (reach, reach)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
    return np.median(windows, axis=2)
