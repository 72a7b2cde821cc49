#!/usr/bin/env python3
"""Makes real keys that are hard for a model: the z-order of all points of OpenStreetMap's time zone boundaries, as the
PyPI package `timezonefinder` carries them (ODbL). Needs it and `numpy`.

    perf/osm_keys.py FILE

FILE becomes the distinct keys, rising, as little-endian u64: four million with timezonefinder 9.0.
"""

import sys

import numpy
from timezonefinder import TimezoneFinder

# x takes the even bits and y the odd ones. Coordinates are 10^-7 degrees; shifted, so that none is negative.
SHIFT_X, SHIFT_Y = 2_000_000_000, 1_000_000_000
STEPS = (
    (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def spread(values):
    """The bits of 32-bit numbers, each followed by a zero."""
    values = values.astype(numpy.uint64)
    for shift, mask in STEPS:
        values = (values | (values << numpy.uint64(shift))) & numpy.uint64(mask)
    return values


def main():
    finder = TimezoneFinder(in_memory=True)
    boundaries = finder.boundaries
    points = [numpy.asarray(boundaries.coords_of(number)) for number in range(len(boundaries))]
    x = numpy.concatenate([each[0] for each in points]).astype(numpy.int64)
    y = numpy.concatenate([each[1] for each in points]).astype(numpy.int64)
    keys = numpy.unique(spread(x + SHIFT_X) | (spread(y + SHIFT_Y) << numpy.uint64(1)))
    keys.astype("<u8").tofile(sys.argv[1])
    print(f"{len(keys)} keys")


if __name__ == "__main__":
    main()
