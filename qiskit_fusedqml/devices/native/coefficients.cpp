#include "coefficients.hpp"

#include <atomic>

namespace fusedqml {
namespace {

std::atomic<uint64_t> last_serial{0};

}  // namespace

Coefficients::Coefficients(const CoefficientCounts& counts, std::shared_ptr<const DenseMatrices> dense)
    : counts_(counts), dense_(std::move(dense)) {
    const CoefficientCounts& c = counts_;
    const int64_t sizes[] = {2 * c.pairs, 2 * c.batched_pairs * c.batch, 8 * c.matrices, 8 * c.batched_matrices * c.batch,
                             c.angles, c.batched_angles * c.batch, c.scales};
    int64_t total = 0;
    for (const int64_t size : sizes) total += size;
    memory_ = Memory(static_cast<size_t>(total) * sizeof(double), false);
    double* parts[7];
    double* next = static_cast<double*>(memory_.get());
    for (int k = 0; k < 7; next += sizes[k++]) parts[k] = next;
    targets_ = {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6]};
    arrays_ = {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6],
               c.pairs, c.batched_pairs, c.matrices, c.batched_matrices, c.angles, c.batched_angles, c.scales,
               {}, dense_->qubits, ++last_serial};
    for (const auto& entries : dense_->entries) arrays_.dense.push_back(entries.data());
}

}  // namespace fusedqml
