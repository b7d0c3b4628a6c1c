// Memory for blocks and streams: large pieces are kept for the next call instead of going back to the kernel, because
// the first touch of a fresh page costs more than all the work on the bytes in it.
//
// Owner: each Bytes owns its piece and gives it back when it dies. Full: at most kPoolBytes wait for reuse, the rest is
// freed. Stop: nothing to do. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace pem {

constexpr size_t kPoolBytes = 96u << 20;

// 64-byte aligned memory of at least n bytes; *capacity says how many. Aborts the process when there is none.
uint8_t *pool_take(size_t n, size_t *capacity);
void pool_give(uint8_t *memory);

// A piece of pool memory with a window of used bytes in it.
class Bytes {
 public:
  Bytes() = default;
  // n bytes, not initialised.
  explicit Bytes(size_t n) : memory_(pool_take(n, &capacity_)), data_(memory_), size_(n) {}
  // Takes over memory from pool_take; data lies in it.
  Bytes(uint8_t *memory, uint8_t *data, size_t size) : memory_(memory), data_(data), size_(size) {}
  Bytes(Bytes &&other) noexcept { swap(other); }
  Bytes &operator=(Bytes &&other) noexcept {
    swap(other);
    return *this;
  }
  Bytes(const Bytes &) = delete;
  Bytes &operator=(const Bytes &) = delete;
  ~Bytes() {
    if (memory_ != nullptr) pool_give(memory_);
  }

  uint8_t *data() { return data_; }
  const uint8_t *data() const { return data_; }
  size_t size() const { return size_; }
  // Hands the memory to the caller, who gives it back with pool_give.
  uint8_t *release() { return std::exchange(memory_, nullptr); }

 private:
  void swap(Bytes &other) {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  uint8_t *memory_ = nullptr;
  uint8_t *data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// A growing array of bytes; grows by doubling, never shrinks.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() {
    if (data_ != nullptr) pool_give(data_);
  }

  uint8_t *data() { return data_; }
  const uint8_t *data() const { return data_; }
  size_t size() const { return size_; }
  // Room for n more bytes behind size(); the bytes may be written before resize() takes them in.
  void reserve_more(size_t n) {
    if (capacity_ - size_ < n) grow(n);
  }
  void resize(size_t n) { size_ = n; }
  // n more bytes, zero.
  void append_zeros(size_t n);
  void append(const uint8_t *p, size_t n);
  // Hands the memory over; empty afterwards.
  Bytes take() {
    Bytes bytes(data_, data_, size_);
    data_ = nullptr;
    size_ = capacity_ = 0;
    return bytes;
  }

 private:
  void grow(size_t n);
  uint8_t *data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace pem
