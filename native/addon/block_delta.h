// What changed between two full blocks of one (target, probe, scope).
//
// In: full blocks, one after another. Out: a block with changed and new rows, then tombstones (key columns only) for
// keys that are gone. Kept: of the last block, for each key a 128-bit hash of the key and one of the row, and the key
// columns themselves (a tombstone carries them). Hashes are seeded at random, so that nobody can choose rows that
// collide. Full: bounded by a block's own limit of rows. Stop: drop it; the next diff begins with a full block.
//
// Invariants: 1. full block + deltas since = the last full block. 2. When diff() fails, the state is as before.
#pragma once

#include <memory>

#include "block_verify.h"
#include "memory.h"

namespace pem {

struct Hash128 {
  uint64_t a, b;
  bool operator==(const Hash128 &o) const { return a == o.a && b == o.b; }
};

class BlockDelta {
 public:
  enum class Answer { Same, Full, Delta, Error };

  // keys: places of key columns in `columns`.
  BlockDelta(std::vector<ColumnSpec> columns, std::vector<uint32_t> keys);

  // Full: send the block as it is (the first, or `force_full`). Delta: *delta. Same: nothing to send.
  Answer diff(const BlockView &full, bool force_full, Bytes *delta, CodecError *error);
  void reset();
  uint32_t keys() const { return count_; }

 private:
  struct Entry {
    Hash128 key, row;
    uint32_t place;  // row in the block it came from, + 1; 0: free
  };
  struct Table {
    std::vector<Entry> slots;
    Entry *find(const Hash128 &key);
  };
  // Key columns of the last block, owned.
  struct KeyColumn {
    std::vector<uint8_t> nulls, fixed, bytes;
    std::vector<uint32_t> offsets;
  };

  void hash_rows(const BlockView &view, const std::vector<uint32_t> &columns, std::vector<Hash128> *out) const;
  bool write_delta(const BlockView &full, const std::vector<uint32_t> &changed, const std::vector<uint32_t> &gone,
                   Bytes *out, CodecError *error) const;
  void keep_keys(const BlockView &full);

  const std::vector<ColumnSpec> columns_;
  const std::vector<uint32_t> keys_;
  std::vector<uint32_t> others_;
  uint64_t seed_[2];
  bool first_ = true;
  uint32_t count_ = 0;
  Table table_;
  std::vector<KeyColumn> kept_;
};

}  // namespace pem
