#include "pauli_product.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pauli_frame.hpp"
#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr int64_t chunks = 16;     // of the rows, whatever the number of threads
constexpr int planes[3][2] = {{2, 3}, {3, 1}, {1, 2}};  // letters that a rotation about X, Y, Z turns into one another

// Rows are pairs of a low and a high half, F(high, low) = F(high) F(low) but for a sign where both have an odd number of Y.
class Halves {
public:
    Halves(const PauliProduct& product, int num_qubits, int64_t samples)
        : batch(samples), product_(product), num_qubits_(num_qubits), low_qubits_(num_qubits / 2) {
        low_size = int64_t(1) << 2 * low_qubits_;
        high_size = int64_t(1) << 2 * (num_qubits - low_qubits_);
    }
    // [odd][sample][row] of the low half: the second one is for high halves with an odd number of Y.
    std::vector<double> low() const {
        std::vector<double> values(static_cast<size_t>(2 * batch * low_size));
        for (int64_t b = 0; b < batch; ++b) {
            double* even = values.data() + b * low_size;
            double* odd = even + batch * low_size;
            expand(b, 0, low_qubits_, even);
            for (int64_t row = 0; row < low_size; ++row) odd[row] = y_parity(static_cast<uint64_t>(row)) ? -even[row] : even[row];
        }
        return values;
    }
    // [row][sample] of the high half.
    std::vector<double> high() const {
        std::vector<double> values(static_cast<size_t>(batch * high_size)), one(static_cast<size_t>(high_size));
        for (int64_t b = 0; b < batch; ++b) {
            expand(b, low_qubits_, num_qubits_, one.data());
            for (int64_t row = 0; row < high_size; ++row) values[static_cast<size_t>(row * batch + b)] = one[static_cast<size_t>(row)];
        }
        return values;
    }
    int64_t batch, low_size, high_size;

private:
    void expand(int64_t sample, int first, int last, double* values) const {
        values[0] = 1;
        int64_t size = 1;
        for (int q = first; q < last; ++q, size *= 4) {
            const double* letters = product_.letters.data() + (q * batch + sample) * 4;
            for (int64_t row = 0; row < size; ++row) {
                values[size + row] = letters[1] * values[row];
                values[2 * size + row] = letters[3] * values[row];
                values[3 * size + row] = (y_parity(static_cast<uint64_t>(row)) ? -letters[2] : letters[2]) * values[row];
            }
        }
    }
    const PauliProduct& product_;
    int num_qubits_, low_qubits_;
};

// Calls body(chunk, first, last) for chunks of the high halves.
template <class F> void for_halves(const Halves& halves, int64_t work, int threads, F body) {
    const int64_t count = std::min(halves.high_size, chunks);
    run_parts(static_cast<int>(count), work < (1 << 15) ? 1 : threads,
              [&](int chunk) { body(chunk, halves.high_size * chunk / count, halves.high_size * (chunk + 1) / count); });
}

template <class T> void read_rows(const PauliState& state, int64_t sample, int64_t first, int64_t count, double* to) {
    const T* data = state.data<T>();
    if (state.sample_bits == 0 && state.lane_bits == gf2::highest(static_cast<uint64_t>(state.kernels->width))) {
        const T* from = data + state.place(sample, static_cast<uint64_t>(first));  // rows lie one after the other
        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<double>(from[i]);
    } else {
        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<double>(data[state.place(sample, static_cast<uint64_t>(first + i))]);
    }
}

template <class T> void write_rows(const PauliState& state, int64_t sample, int64_t first, int64_t count, const double* from) {
    T* data = state.data<T>();
    if (state.sample_bits == 0 && state.lane_bits == gf2::highest(static_cast<uint64_t>(state.kernels->width))) {
        T* to = data + state.place(sample, static_cast<uint64_t>(first));
        for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
    } else {
        for (int64_t i = 0; i < count; ++i) data[state.place(sample, static_cast<uint64_t>(first + i))] = static_cast<T>(from[i]);
    }
}

void apply_affine(const ProductOp& op, const PauliNumbers& numbers, int64_t batch, int64_t sample, double* r) {
    const double* map = op.batched ? numbers.batched_affine + 12 * op.coefficient * batch + sample : numbers.affine + 12 * op.coefficient;
    const int64_t step = op.batched ? batch : 1;
    const double before[4] = {r[0], r[1], r[2], r[3]};
    for (int a = 0; a < 3; ++a) {
        r[1 + a] = 0;
        for (int k = 0; k < 4; ++k) r[1 + a] += map[(4 * a + k) * step] * before[k];
    }
}

void apply_turn(const ProductOp& op, const PauliNumbers& numbers, int64_t batch, int64_t sample, double* r) {
    const double* turn = op.batched ? numbers.batched_turns + 2 * op.coefficient * batch + sample : numbers.turns + 2 * op.coefficient;
    const double cosine = turn[0], sine = turn[op.batched ? batch : 1];
    double &first = r[planes[op.axis][0]], &second = r[planes[op.axis][1]];
    const double turned = cosine * first - sine * second;
    second = sine * first + cosine * second;
    first = turned;
}

// Whether a pair is one operation on each qubit, up to rounding.
bool is_product(const double* table) {
    for (int i = 0; i < 16; ++i)
        if (std::abs(table[0] * table[i] - table[i & 3] * table[i & 12]) > 1e-15) return false;
    return table[0] == 1;
}

void apply_pair(const double* table, double* r, double* s) {
    for (int a = 0; a < 4; ++a) r[a] *= table[a], s[a] *= table[4 * a];
    r[3] += table[16] * r[0];
    s[3] += table[17] * s[0];
}

template <class T> void write_zero(const PauliState& state) {
    T* data = state.data<T>();
    std::memset(data, 0, state.bytes());
    uint64_t z_bits = ((uint64_t(1) << 2 * state.num_qubits) - 1) & ~x_bits, row = 0;
    do {
        for (int64_t b = 0; b < state.batch; ++b) data[state.place(b, row)] = 1;
        row = (row - z_bits) & z_bits;  // the next string of I and Z
    } while (row);
}

template <class T> void write_halves(const PauliState& state, int threads) {
    const Halves halves(*state.product, state.num_qubits, state.batch);
    const std::vector<double> low = halves.low(), high = halves.high();
    T* data = state.data<T>();
    if (state.batch % (int64_t(1) << state.sample_bits)) std::memset(data, 0, state.bytes());
    const int64_t width = state.kernels->width;
    for_halves(halves, state.batch << 2 * state.num_qubits, threads, [&](int, int64_t first, int64_t last) {
        for (int64_t h = first; h < last; ++h)
            for (int64_t b = 0; b < state.batch; ++b) {
                const double factor = high[static_cast<size_t>(h * state.batch + b)];
                const double* from = low.data() + (y_parity(static_cast<uint64_t>(h)) ? state.batch + b : b) * halves.low_size;
                const uint64_t row = static_cast<uint64_t>(h * halves.low_size);
                T* to = data + state.place(b, row);
                for (int64_t l = 0; l < halves.low_size; ++l)
                    *(state.lane_bits ? data + state.place(b, row + static_cast<uint64_t>(l)) : to + l * width) = static_cast<T>(factor * from[l]);
            }
    });
}

template <class F> void with_type(const PauliState& state, F body) {
    if (state.kernels->real_bytes == 4) body(float());
    else body(double());
}

}  // namespace

std::shared_ptr<PauliProduct> zero_product(int num_qubits, int64_t batch) {
    auto product = std::make_shared<PauliProduct>();
    for (int64_t i = 0; i < num_qubits * batch; ++i) product->letters.insert(product->letters.end(), {1, 0, 0, 1});
    return product;
}

bool apply_to_product(const CompiledPauliTape& tape, const PauliNumbers& numbers, const PauliState& ket) {
    if (!ket.product || !tape.keeps_products) return false;
    for (const ProductOp& op : tape.product_ops)
        if (op.kind == PauliKind::pair && !is_product(numbers.pairs + 18 * op.coefficient)) return false;
    ket.product->is_zero = ket.product->is_zero && tape.product_ops.empty();
    for (const ProductOp& op : tape.product_ops)
        for (int64_t b = 0; b < ket.batch; ++b) {
            double* r = ket.product->letters.data() + (op.qubit * ket.batch + b) * 4;
            double* s = ket.product->letters.data() + (op.other * ket.batch + b) * 4;
            switch (op.kind) {
                case PauliKind::affine: apply_affine(op, numbers, ket.batch, b, r); break;
                case PauliKind::turn: apply_turn(op, numbers, ket.batch, b, r); break;
                case PauliKind::pair: apply_pair(numbers.pairs + 18 * op.coefficient, r, s); break;
                case PauliKind::transfer: break;
            }
        }
    return true;
}

void write_product(const PauliState& state, int threads) {
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (!state.product) return;
    with_type(state, [&](auto zero) {
        using T = decltype(zero);
        if (state.product->is_zero) write_zero<T>(state);
        else write_halves<T>(state, threads);
    });
    state.product = nullptr;
}

void get_products_with_product(const PauliState& bras, const PauliState& kets, const PauliProduct& product, double* values, int threads) {
    const Halves halves(product, kets.num_qubits, kets.batch);
    const std::vector<double> low = halves.low(), high = halves.high();
    const int64_t batch = kets.batch, count = bras.batch;
    std::vector<std::vector<double>> sums(static_cast<size_t>(std::min(halves.high_size, chunks)));
    for_halves(halves, batch * count << 2 * kets.num_qubits, threads, [&](int chunk, int64_t first, int64_t last) {
        std::vector<double> row(static_cast<size_t>(halves.low_size)), dots(static_cast<size_t>(batch)), own(static_cast<size_t>(batch * count));
        for (int64_t h = first; h < last; ++h)
            for (int64_t k = 0; k < count; ++k) {
                with_type(bras, [&](auto zero) { read_rows<decltype(zero)>(bras, k, h * halves.low_size, halves.low_size, row.data()); });
                const double* vectors = low.data() + (y_parity(static_cast<uint64_t>(h)) ? batch * halves.low_size : 0);
                bras.kernels->pauli.dots(row.data(), vectors, batch, halves.low_size, dots.data());
                for (int64_t b = 0; b < batch; ++b)
                    own[static_cast<size_t>(b * count + k)] += high[static_cast<size_t>(h * batch + b)] * dots[static_cast<size_t>(b)];
            }
        sums[static_cast<size_t>(chunk)] = std::move(own);
    });
    std::fill_n(values, batch * count, 0.0);
    for (const std::vector<double>& own : sums)
        for (size_t i = 0; i < own.size(); ++i) values[i] += own[i];
}

void set_combinations_of_product(const PauliState& kets, const PauliProduct& product, const double* weights, const PauliState& state, int threads) {
    const Halves halves(product, kets.num_qubits, kets.batch);
    const std::vector<double> low = halves.low(), high = halves.high();
    const int64_t batch = kets.batch, count = state.batch;
    with_type(state, [&](auto zero) {
        using T = decltype(zero);
        if (count % (int64_t(1) << state.sample_bits)) std::fill_n(state.data<T>(), state.bytes() / sizeof(T), T(0));
        for_halves(halves, batch * count << 2 * kets.num_qubits, threads, [&](int, int64_t first, int64_t last) {
            std::vector<double> row(static_cast<size_t>(halves.low_size)), factors(static_cast<size_t>(batch));
            for (int64_t h = first; h < last; ++h)
                for (int64_t k = 0; k < count; ++k) {
                    for (int64_t b = 0; b < batch; ++b)
                        factors[static_cast<size_t>(b)] = weights[b * count + k] * high[static_cast<size_t>(h * batch + b)];
                    const double* vectors = low.data() + (y_parity(static_cast<uint64_t>(h)) ? batch * halves.low_size : 0);
                    kets.kernels->pauli.combination(vectors, factors.data(), batch, halves.low_size, row.data());
                    write_rows<T>(state, k, h * halves.low_size, halves.low_size, row.data());
                }
        });
    });
}

}  // namespace fusedqml
