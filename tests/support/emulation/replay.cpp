// Runs recorded launches again, with a thread of the operating system for each CUDA thread: for the sanitizers, which want a program of their own.
//
// The file: number of buffers; each as size and content; number of launches; each as kernel, blocks (2), threads, bytes of shared memory, number of
// arguments; each argument as number of words; each word as kind (0: number, 1: buffer, 2: null) and two words (its bits; or buffer and offset). All of
// them 8 bytes wide.
// Afterwards the buffers' contents go to standard output.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_words.h"

typedef void Entry(const unsigned* sizes, size_t shared_bytes, void** arguments);
extern Entry* const entries[];

static uint64_t next(FILE* file) {
    uint64_t value;
    if (std::fread(&value, 8, 1, file) != 1) std::exit(3);
    return value;
}

int main(int, char** arguments) {
    FILE* file = std::fopen(arguments[1], "rb");
    if (!file) return 3;
    struct Buffer {
        std::unique_ptr<unsigned char[]> data;  // to the byte, so that its ends are watched
        size_t size;
    };
    std::vector<Buffer> buffers(next(file));
    for (Buffer& buffer : buffers) {
        buffer.size = next(file);
        buffer.data.reset(new unsigned char[buffer.size]);
        if (std::fread(buffer.data.get(), 1, buffer.size, file) != buffer.size) return 3;
    }
    for (uint64_t left = next(file); left; --left) {
        Entry* entry = entries[next(file)];
        const unsigned sizes[3] = {unsigned(next(file)), unsigned(next(file)), unsigned(next(file))};
        const size_t shared_bytes = next(file), count = next(file);
        std::vector<std::vector<uint64_t>> values(count);
        std::vector<void*> pointers(count);
        for (size_t k = 0; k < count; ++k) {
            values[k].resize(next(file));
            for (uint64_t& value : values[k]) {
                const uint64_t kind = next(file), first = next(file), second = next(file);
                value = kind == 0 ? first : kind == 1 ? reinterpret_cast<uint64_t>(buffers[first].data.get() + second) : 0;
            }
            pointers[k] = values[k].data();
        }
        entry(sizes, shared_bytes, pointers.data());
    }
    for (const Buffer& buffer : buffers) std::fwrite(buffer.data.get(), 1, buffer.size, stdout);
    return 0;
}
