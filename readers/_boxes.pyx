# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Box arithmetic over contiguous float64 arrays; readers/boxes.py says what each function means."""

import numpy as np
from libc.math cimport exp, log


cdef inline double _smaller(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double _larger(double a, double b) noexcept nogil:
    return a if a > b else b


def overlaps(const double[:, ::1] boxes, const double[:, ::1] others):
    cdef Py_ssize_t i, k, n = boxes.shape[0], m = others.shape[0]
    cdef double width, height, area, other, shared
    found = np.zeros((n, m))
    cdef double[:, ::1] out = found
    with nogil:
        for i in range(n):
            area = (boxes[i, 2] - boxes[i, 0] + 1) * (boxes[i, 3] - boxes[i, 1] + 1)
            for k in range(m):
                width = _smaller(boxes[i, 2], others[k, 2]) - _larger(boxes[i, 0], others[k, 0]) + 1
                height = _smaller(boxes[i, 3], others[k, 3]) - _larger(boxes[i, 1], others[k, 1]) + 1
                if width > 0 and height > 0:
                    shared = width * height
                    other = (others[k, 2] - others[k, 0] + 1) * (others[k, 3] - others[k, 1] + 1)
                    out[i, k] = shared / (area + other - shared)
    return found


def encode(const double[:, ::1] boxes, const double[:, ::1] targets):
    cdef Py_ssize_t i, axis, n = boxes.shape[0]
    cdef double side, goal
    found = np.empty((n, 4))
    cdef double[:, ::1] out = found
    with nogil:
        for i in range(n):
            for axis in range(2):
                side = boxes[i, axis + 2] - boxes[i, axis] + 1
                goal = targets[i, axis + 2] - targets[i, axis] + 1
                out[i, axis] = (targets[i, axis] + goal / 2 - boxes[i, axis] - side / 2) / side
                out[i, axis + 2] = log(goal / side)
    return found


def decode(const double[:, ::1] boxes, const double[:, ::1] offsets, const double[:, ::1] image_hw):
    cdef Py_ssize_t i, axis, n = boxes.shape[0]
    cdef double side, centre, grown, most
    found = np.empty((n, 4))
    cdef double[:, ::1] out = found
    with nogil:
        for i in range(n):
            for axis in range(2):
                side = boxes[i, axis + 2] - boxes[i, axis] + 1
                centre = boxes[i, axis] + side / 2 + offsets[i, axis] * side
                grown = exp(offsets[i, axis + 2]) * side
                most = image_hw[i, 1 - axis] - 1
                out[i, axis] = _larger(0, _smaller(most, centre - grown / 2))
                out[i, axis + 2] = _larger(0, _smaller(most, centre + grown / 2 - 1))
    return found
