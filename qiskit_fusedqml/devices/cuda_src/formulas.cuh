// Features: the values of expressions of parameters, and their derivatives by reverse accumulation; ir/expressions.py has the rules.
namespace fusedqml {

__device__ __forceinline__ double sign_of(double a) { return a > 0 ? 1 : a < 0 ? -1 : a; }

__device__ __forceinline__ double result_of(int step, double a, double b) {
    switch (step) {
        case add_step: return a + b;
        case subtract_step: return a - b;
        case multiply_step: return a * b;
        case divide_step: return a / b;
        case power_step: return pow(a, b);
        case negative_step: return -a;
        case sin_step: return sin(a);
        case cos_step: return cos(a);
        case tan_step: return tan(a);
        case arcsin_step: return asin(a);
        case arccos_step: return acos(a);
        case arctan_step: return atan(a);
        case sinh_step: return sinh(a);
        case cosh_step: return cosh(a);
        case tanh_step: return tanh(a);
        case exp_step: return exp(a);
        case log_step: return log(a);
        case sqrt_step: return sqrt(a);
        case absolute_step: return fabs(a);
        case sign_step: return sign_of(a);
        case positive_step: return a;
        default: return 0;
    }
}

// d result / d a
__device__ __forceinline__ double first_derivative(int step, double a, double b, double result) {
    switch (step) {
        case add_step:
        case subtract_step:
        case positive_step: return 1;
        case multiply_step: return b;
        case divide_step: return 1 / b;
        case power_step: return b * pow(a, b - 1);
        case negative_step: return -1;
        case sin_step: return cos(a);
        case cos_step: return -sin(a);
        case tan_step: return 1 + result * result;
        case arcsin_step: return 1 / sqrt(1 - a * a);
        case arccos_step: return -1 / sqrt(1 - a * a);
        case arctan_step: return 1 / (1 + a * a);
        case sinh_step: return cosh(a);
        case cosh_step: return sinh(a);
        case tanh_step: return 1 - result * result;
        case exp_step: return result;
        case log_step: return 1 / a;
        case sqrt_step: return 0.5 / result;
        case absolute_step: return sign_of(a);
        default: return 0;
    }
}

// d result / d b
__device__ __forceinline__ double second_derivative(int step, double a, double b, double result) {
    switch (step) {
        case add_step: return 1;
        case subtract_step: return -1;
        case multiply_step: return a;
        case divide_step: return -result / b;
        case power_step: return result == 0 ? 0 : result * log(a);
        default: return 0;
    }
}

// An expression: words [first node, nodes, first slot, variables]. Nodes are [step, argument, argument], the arguments earlier nodes, or a variable's
// number; slots name the sources of a member's variables.
struct Features {
    const int *members, *nodes, *slots;
    const double* constants;  // of nodes that are numbers
    double* room;             // [node][thread], twice
    long long threads;
    long long thread;
    int most_nodes;

    __device__ __forceinline__ double& value(int node) const { return room[node * threads + thread]; }
    __device__ __forceinline__ double& adjoint(int node) const { return room[(most_nodes + node) * threads + thread]; }

    __device__ __forceinline__ void evaluate(const Values& v, int member, long long sample) const {
        const int first = members[4 * member], count = members[4 * member + 1];
        for (int k = 0; k < count; ++k) {
            const int* node = nodes + 3 * (first + k);
            if (node[0] == variable_step) value(k) = v.at(slots[members[4 * member + 2] + node[1]], sample);
            else if (node[0] == number_step) value(k) = constants[first + k];
            else value(k) = result_of(node[0], value(node[1]), value(node[2]));
        }
    }

    // The derivatives for the variables, `step` apart, after `evaluate`.
    __device__ __forceinline__ void pull(int member, double outer, double* to, long long step) const {
        const int first = members[4 * member], count = members[4 * member + 1];
        for (int k = 0; k < count; ++k) adjoint(k) = 0;
        for (int k = 0; k < members[4 * member + 3]; ++k) to[k * step] = 0;
        adjoint(count - 1) = outer;
        for (int k = count; k-- > 0;) {
            const int* node = nodes + 3 * (first + k);
            const double adjoint_here = adjoint(k);
            if (node[0] == variable_step) to[node[1] * step] = adjoint_here;
            if (node[0] == variable_step || node[0] == number_step) continue;
            const double a = value(node[1]), b = value(node[2]), result = value(k);
            const bool first_varies = nodes[3 * (first + node[1])] != number_step, two = node[0] <= power_step;
            if (first_varies) adjoint(node[1]) += adjoint_here * first_derivative(node[0], a, b, result);
            if (two && nodes[3 * (first + node[2])] != number_step) adjoint(node[2]) += adjoint_here * second_derivative(node[0], a, b, result);
        }
    }
};

// Threads take the shared members, then the batched ones of each sample, in turns.
__global__ void evaluate_expressions(const CoefficientMap map, long long batch, const double* shared_values, const double* batched_values, double* memory,
                                  const int* members,
                                  const int* nodes, const int* slots, const double* constants, int most_nodes, int num_members, double* room) {
    const Values v = {map, batch, shared_values, batched_values, nullptr, memory};
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x, threads = static_cast<long long>(gridDim.x) * blockDim.x;
    const Features f = {members, nodes, slots, constants, room, threads, thread, most_nodes};
    const int shared = v.r.num_expressions;
    for (long long k = thread; k < shared + (num_members - shared) * batch; k += threads) {
        const long long batched = k - shared, sample = batched < 0 ? 0 : batched % batch;
        const int member = batched < 0 ? static_cast<int>(k) : shared + static_cast<int>(batched / batch);
        f.evaluate(v, member, sample);
        *(batched < 0 ? v.shared_expressions() + k : v.batched_expressions() + batched) = f.value(members[4 * member + 1] - 1);
    }
}

// The derivatives for the members' variables: [slot of a shared member][shared sample], and [slot of a batched one][sample]. outer: the derivatives for the
// members, of shared ones at shared_outer[sample * shared_stride + member], of batched ones at batched_outer[sample * batched_stride + member].
__global__ void pull_expressions(const CoefficientMap map, long long batch, const double* shared_values, const double* batched_values, double* memory, const int* members,
                              const int* nodes, const int* slots, const double* constants, int most_nodes, int num_members, double* room, int shared_slots,
                              const double* shared_outer, long long shared_samples, long long shared_stride, const double* batched_outer, long long batched_stride,
                              double* shared_results, double* batched_results) {
    const Values v = {map, batch, shared_values, batched_values, nullptr, memory};
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x, threads = static_cast<long long>(gridDim.x) * blockDim.x;
    const Features f = {members, nodes, slots, constants, room, threads, thread, most_nodes};
    const int shared = v.r.num_expressions;
    const long long of_shared = shared * shared_samples, of_batched = batched_outer ? (num_members - shared) * batch : 0;
    for (long long k = thread; k < of_shared + of_batched; k += threads) {
        const bool is_batched = k >= of_shared;
        const long long place = is_batched ? k - of_shared : k, step = is_batched ? batch : shared_samples, sample = place % step;
        const int number = static_cast<int>(place / step), member = is_batched ? shared + number : number, slot = members[4 * member + 2];
        f.evaluate(v, member, sample);
        const double outer = is_batched ? batched_outer[sample * batched_stride + number] : shared_outer[sample * shared_stride + number];
        double* to = (is_batched ? batched_results + (slot - shared_slots) * batch : shared_results + slot * shared_samples) + sample;
        f.pull(member, outer, to, step);
    }
}

}  // namespace fusedqml
