// NumPy arrays as arguments and results.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <complex>
#include <vector>

#include "errors.hpp"

namespace fusedqml {

namespace nb = nanobind;

template <class T, int dimensions> using Array = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;
template <class T> using Result = nb::ndarray<nb::numpy, T, nb::c_contig>;
using Complex = std::complex<double>;

template <class T = double> Result<T> zeros(const std::vector<size_t>& shape) {
    size_t size = 1;
    for (const size_t extent : shape) size *= extent;
    T* data = new T[size]();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Result<T>(data, shape.size(), shape.data(), owner);
}

inline void check(bool holds, const char* message) {
    if (!holds) throw InvalidInputError(message);
}

}  // namespace fusedqml
