// What goes into a recording before each time it is launched, and out of it at its end.
namespace fusedqml {

// Where results go this time: of either precision, the other pointer is null.
struct Results {
    double* numbers[2];
    float* singles[2];
};
static_assert(sizeof(Results) == results_bytes);

// Numbers of either precision [row][column] into columns of a table that begin at `to`, `width` from row to row.
__device__ __forceinline__ void put_numbers(long long k, const double* numbers, const float* singles, double* to, int columns, int width) {
    to[k / columns * width + k % columns] = numbers ? numbers[k] : static_cast<double>(singles[k]);
}

// One or two arrays of `count` and `more` numbers, and where results go.
__global__ void enter_recording(const double* numbers, const float* singles, double* to, int columns, int width, long long count,
                                const double* more_numbers, const float* more_singles, double* more_to, int more_columns, int more_width, long long more,
                                Results* results, double* first, float* first_single, double* second, float* second_single) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k == 0) *results = {{first, second}, {first_single, second_single}};
    if (k < count) put_numbers(k, numbers, singles, to, columns, width);
    else if (k < count + more) put_numbers(k - count, more_numbers, more_singles, more_to, more_columns, more_width);
}

// Some columns of a table as a result.
__global__ void leave_recording(const double* from, int columns, int width, long long count, const Results* results, int number) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count) return;
    const double value = from[k / columns * width + k % columns];
    if (results->numbers[number]) results->numbers[number][k] = value;
    else results->singles[number][k] = static_cast<float>(value);
}

}  // namespace fusedqml
