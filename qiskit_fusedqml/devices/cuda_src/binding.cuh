// The mathematics between angles and coefficients, and between overlaps and gradients, of one rotation, sequence or
// overlap: for NVRTC, and for the C++ of devices/native. reference_coefficients.py derives it.
#ifndef FUSEDQML_BINDING
#define FUSEDQML_BINDING
#if !defined(__CUDACC__) && !defined(FUSEDQML_EMULATION)
#include <math.h>
#define __device__
#define __forceinline__ inline
#endif

namespace fusedqml {

// The product of rotations as a unit quaternion w + x i + y j + z k, which is the matrix w - 1j (x X + y Y + z Z), times
// one more about axis A (1 to 3: X to Z); c and s are of half its angle.
template <int A> __device__ __forceinline__ void multiply_about(double (&q)[4], double c, double s) {
    constexpr int B = A % 3 + 1, D = B % 3 + 1;  // A, B, D is a right-handed triple
    const double w = c * q[0] - s * q[A], a = c * q[A] + s * q[0], b = c * q[B] - s * q[D], d = c * q[D] + s * q[B];
    q[0] = w;
    q[A] = a;
    q[B] = b;
    q[D] = d;
}
__device__ __forceinline__ void multiply_about(int axis, double (&q)[4], double c, double s) {
    switch (axis) {
        case 0: return multiply_about<1>(q, c, s);
        case 1: return multiply_about<2>(q, c, s);
        default: return multiply_about<3>(q, c, s);
    }
}

// Number k of the matrix's entries, row by row, real before imaginary parts.
__device__ __forceinline__ double matrix_number(const double (&q)[4], int k) {
    switch (k) {
        case 0: case 6: return q[0];
        case 1: return -q[3];
        case 2: return -q[2];
        case 4: return q[2];
        case 7: return q[3];
        default: return -q[1];
    }
}

// The quaternion as RZ(alpha) RY(beta) RZ(gamma), and exp(1j alpha) without its angle.
struct Euler {
    double alpha, beta, gamma, phase_re, phase_im;
};
__device__ __forceinline__ Euler euler_angles(const double (&q)[4]) {
    const double about_z = sqrt(q[0] * q[0] + q[3] * q[3]), across = sqrt(q[1] * q[1] + q[2] * q[2]);
    const double total = about_z > 0 ? atan2(q[3], q[0]) : 0, difference = across > 0 ? atan2(-q[1], q[2]) : 0;
    const double c = about_z > 0 ? q[0] / about_z : 1, s = about_z > 0 ? q[3] / about_z : 0;
    const double d = across > 0 ? q[2] / across : 1, e = across > 0 ? -q[1] / across : 0;
    return {total + difference, 2 * atan2(across, about_z), total - difference, c * d - s * e, c * e + s * d};
}

// Of cosine a and sine b of half a rotation's angle, the larger number, which is taken out of both. What is left of it
// is exactly 1: that tells a sweep which half of the work it can leave out.
__device__ __forceinline__ double take_out(double& a, double& b) {
    const bool tangent = fabs(a) >= fabs(b);
    const double taken = tangent ? a : b;
    a = tangent ? 1 : a / taken;
    b = tangent ? b / taken : 1;
    return taken;
}

// What an overlap is to be multiplied by that was measured on a ket and a bra, both scaled by `behind`.
__device__ __forceinline__ double overlap_factor(double behind) { return 1 / (behind * behind); }

// Cosine and sine of twice an angle.
__device__ __forceinline__ void double_angle(double c, double s, double& twice_c, double& twice_s) {
    twice_c = c * c - s * s;
    twice_s = 2 * c * s;
}

// Back through a gate: the components across its axis, b before d in the right-handed order, turn by its angle.
__device__ __forceinline__ void turn_back(double c, double s, double& b, double& d) {
    const double before = b;
    b = c * before + s * d;
    d = c * d - s * before;
}
// The same of h = (<X>, <Y>, <Z>) for a gate about an axis (0 to 2); the component along it, which stays.
__device__ __forceinline__ double turn_back(int axis, double c, double s, double (&h)[3]) {
    switch (axis) {
        case 0: turn_back(c, s, h[1], h[2]); return h[0];
        case 1: turn_back(c, s, h[2], h[0]); return h[1];
        default: turn_back(c, s, h[0], h[1]); return h[2];
    }
}

// <X> after a rotation about Y with coefficients (a, b), from <Z> before and after it. It is well determined where the
// rotation is steep (RY.is_steep of planner/tape.py).
__device__ __forceinline__ double x_from_z(double a, double b, double before, double after) {
    return ((a * a + b * b) * before - (a * a - b * b) * after) / (2 * a * b);
}

}  // namespace fusedqml

#if !defined(__CUDACC__) && !defined(FUSEDQML_EMULATION)
#undef __device__
#undef __forceinline__
#endif
#endif  // FUSEDQML_BINDING
