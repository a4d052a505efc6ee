#include "parts_module.hpp"

#include "arrays.hpp"
#include "parts.hpp"

namespace fusedqml {
namespace {

using Buffer = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// first, count: the rows, in an order of 2**len(vectors)
RowOrder checked_rows(const State& state, const Array<uint64_t, 1>& vectors, uint64_t offset, uint64_t first, uint64_t count,
                      const Buffer& buffer) {
    RowOrder rows{{vectors.data(), vectors.data() + vectors.size()}, offset, first, first + count};
    uint64_t used = offset;
    for (const uint64_t vector : rows.vectors) used |= vector;
    check(rows.vectors.size() <= static_cast<size_t>(state.num_qubits) && !(used >> state.num_qubits), "A row lies outside the state.");
    check(rows.last >= first && rows.last <= uint64_t(1) << rows.vectors.size(), "There are fewer rows.");
    const size_t real = static_cast<size_t>(state.kernels->real_bytes);
    check(buffer.dtype().code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float) && buffer.itemsize() == real,
          "The buffer is of another precision.");
    check(buffer.size() >= 2 * static_cast<size_t>(count) * static_cast<size_t>(state.batch), "The buffer is too small.");
    return rows;
}

}  // namespace

void bind_parts(nb::module_& m) {
    const auto copies = [](auto copy) {
        return [copy](State& state, const Array<uint64_t, 1>& vectors, uint64_t offset, uint64_t first, uint64_t count,
                      const Buffer& buffer, int threads) {
            state.make_complex();  // buffers hold both parts
            const RowOrder rows = checked_rows(state, vectors, offset, first, count, buffer);
            void* data = buffer.data();
            nb::gil_scoped_release release;
            copy(state, rows, data, threads);
        };
    };
    m.def("pack", copies(&pack));
    m.def("unpack", copies(&unpack));
    m.def("clear", &clear, nb::call_guard<nb::gil_scoped_release>());
    m.def("scale", [](const State& state, const Array<double, 1>& factors, int threads) {
        check(factors.shape(0) == static_cast<size_t>(state.batch), "Factors must have shape (B,).");
        nb::gil_scoped_release release;
        scale(state, factors.data(), threads);
    });
    m.def("add", [](State& state, State& other, int threads) {
        if (state.is_real() != other.is_real()) {
            state.make_complex();
            other.make_complex();
        }
        check(state.kernels == other.kernels && state.bytes() == other.bytes() && state.lane_bits == other.lane_bits,
              "The states differ in shape, precision or layout.");
        nb::gil_scoped_release release;
        add(state, other, threads);
    });
}

}  // namespace fusedqml
