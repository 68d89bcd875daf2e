"""Bilinear resize without antialias by TensorFlow itself, which prepares the released VeCLIP's pictures.

Reads arrays from an .npz, resizes by the shorter side, crops the centre, and writes the pictures to another.
"""

import sys

import numpy as np
import tensorflow as tf


def cut(image, size):
    high, wide = image.shape[:2]
    target = (100000, size) if high > wide else (size, 100000)
    resized = tf.image.resize(
        tf.constant(image), target, method="bilinear", preserve_aspect_ratio=True, antialias=False
    ).numpy()
    side = min(resized.shape[:2])
    top, left = (int((length - side) / 2.0) for length in resized.shape[:2])
    return resized[top : top + side, left : left + side]


if __name__ == "__main__":
    source, target, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(source) as pictures:
        np.savez(target, **{name: cut(pictures[name], size) for name in pictures.files})
