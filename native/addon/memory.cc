// The pool behind blocks and streams; see memory.h. A piece begins with a hidden line that says its size.
#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

namespace pem {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kPooled = 64u << 10;  // smaller pieces are malloc's business
// From here on pieces are made of huge pages where the kernel has them: 512 faults less, and the bytes of a stream
// and its blocks do not push each other out of the TLB.
constexpr size_t kHuge = 2u << 20;

struct Waiting {
  uint8_t *base;
  size_t size;
};

struct Pool {
  std::mutex lock;
  std::vector<Waiting> waiting;  // oldest first
  size_t bytes = 0;
};

// Never destroyed: buffers of JavaScript may be finalised after static destructors ran.
Pool &pool() {
  static Pool *const one = new Pool;
  return *one;
}

size_t &piece_size(uint8_t *base) { return *reinterpret_cast<size_t *>(base); }

// Quarter steps between powers of two: what one call leaves fits the next one's slightly larger need.
size_t round_up(size_t n) {
  size_t step = kLine;
  while (step * 8 <= n) step *= 2;
  if (n >= kHuge && step < kHuge) step = kHuge;
  return (n + step - 1) / step * step;
}

uint8_t *allocate(size_t want) {
  const bool huge = want >= kHuge;
  auto *base = static_cast<uint8_t *>(std::aligned_alloc(huge ? kHuge : kLine, want));
  if (base == nullptr) std::abort();
  if (huge) madvise(base, want, MADV_HUGEPAGE);  // advice: where it is not taken all works as well
  return base;
}

}  // namespace

uint8_t *pool_take(size_t n, size_t *capacity) {
  size_t want = round_up(n + kLine);
  uint8_t *base = nullptr;
  if (want >= kPooled) {
    Pool &p = pool();
    std::lock_guard<std::mutex> guard(p.lock);
    size_t best = p.waiting.size();
    for (size_t i = 0; i < p.waiting.size(); i++) {
      const size_t size = p.waiting[i].size;
      if (size >= want && size <= 2 * want && (best == p.waiting.size() || size < p.waiting[best].size)) best = i;
    }
    if (best < p.waiting.size()) {
      base = p.waiting[best].base;
      p.bytes -= p.waiting[best].size;
      p.waiting.erase(p.waiting.begin() + static_cast<std::ptrdiff_t>(best));
    }
  }
  if (base == nullptr) {
    base = allocate(want);
    piece_size(base) = want;
  }
  *capacity = piece_size(base) - kLine;
  return base + kLine;
}

void pool_give(uint8_t *memory) {
  uint8_t *base = memory - kLine;
  size_t size = piece_size(base);
  if (size < kPooled || size > kPoolBytes) {
    std::free(base);
    return;
  }
  std::vector<uint8_t *> drop;
  {
    Pool &p = pool();
    std::lock_guard<std::mutex> guard(p.lock);
    size_t gone = 0;
    while (p.bytes + size > kPoolBytes) {
      p.bytes -= p.waiting[gone].size;
      drop.push_back(p.waiting[gone++].base);
    }
    p.waiting.erase(p.waiting.begin(), p.waiting.begin() + static_cast<std::ptrdiff_t>(gone));
    p.waiting.push_back({base, size});
    p.bytes += size;
  }
  for (uint8_t *old : drop) std::free(old);
}

void Buffer::grow(size_t n) {
  size_t want = size_ + n;
  if (want < capacity_ * 2) want = capacity_ * 2;
  if (want < 256) want = 256;
  size_t capacity = 0;
  uint8_t *data = pool_take(want, &capacity);
  if (data_ != nullptr) {
    std::memcpy(data, data_, size_);
    pool_give(data_);
  }
  data_ = data;
  capacity_ = capacity;
}

void Buffer::append_zeros(size_t n) {
  reserve_more(n);
  std::memset(data_ + size_, 0, n);
  size_ += n;
}

void Buffer::append(const uint8_t *p, size_t n) {
  if (n == 0) return;
  reserve_more(n);
  std::memcpy(data_ + size_, p, n);
  size_ += n;
}

}  // namespace pem
