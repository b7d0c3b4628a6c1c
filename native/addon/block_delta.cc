// Full blocks -> deltas; see block_delta.h. Hashes are made column by column, the table is open addressing with a load
// of at most one half, and a delta is gathered column by column: all of it linear in the bytes of the block.
#include "block_delta.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "block_write.h"

namespace pem {
namespace {

constexpr uint64_t kMixA = 0x9e3779b97f4a7c15ull, kMixB = 0xc2b2ae3d27d4eb4full;

uint64_t mix(uint64_t x, uint64_t y) {
  const unsigned __int128 product = static_cast<unsigned __int128>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

void add(Hash128 *h, uint64_t v) {
  h->a = mix(h->a ^ v ^ kMixA, h->b | 1) + v;
  h->b = mix(h->b ^ v ^ kMixB, kMixA) ^ (h->a >> 29 | h->a << 35);
}

void add_bytes(Hash128 *h, const uint8_t *p, size_t n) {
  add(h, n + 1);
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v;
    std::memcpy(&v, p, 8);
    add(h, v);
  }
  if (n == 0) return;
  uint64_t v = 0;
  std::memcpy(&v, p, n);
  add(h, v);
}

constexpr uint64_t kNull = 0x5bd1e9955bd1e995ull;

}  // namespace

BlockDelta::BlockDelta(std::vector<ColumnSpec> columns, std::vector<uint32_t> keys)
    : columns_(std::move(columns)), keys_(std::move(keys)) {
  for (uint32_t i = 0; i < columns_.size(); i++)
    if (std::find(keys_.begin(), keys_.end(), i) == keys_.end()) others_.push_back(i);
  std::random_device random;
  for (uint64_t &seed : seed_) seed = static_cast<uint64_t>(random()) << 32 | random();
}

void BlockDelta::reset() {
  first_ = true;
  count_ = 0;
  table_ = Table();
  kept_.clear();
}

BlockDelta::Entry *BlockDelta::Table::find(const Hash128 &key) {
  const size_t mask = slots.size() - 1;
  size_t at = key.a & mask;
  while (slots[at].place != 0 && !(slots[at].key == key)) at = (at + 1) & mask;
  return &slots[at];
}

void BlockDelta::hash_rows(const BlockView &view, const std::vector<uint32_t> &columns,
                           std::vector<Hash128> *out) const {
  out->assign(view.rows, {seed_[0], seed_[1]});
  Hash128 *hashes = out->data();
  for (uint32_t index : columns) {
    const ColumnView &column = view.columns[index];
    for (uint32_t row = 0; row < view.rows; row++) {
      if (column.is_null(row)) {
        add(&hashes[row], kNull);
        add(&hashes[row], 0);
      } else if (column.width == 8) {
        uint64_t v;
        std::memcpy(&v, column.fixed + 8 * static_cast<size_t>(row), 8);
        add(&hashes[row], v);
        add(&hashes[row], 1);
      } else if (column.width != 0) {
        add_bytes(&hashes[row], column.fixed + static_cast<size_t>(row) * column.width, column.width);
      } else {
        add_bytes(&hashes[row], column.bytes + column.offsets[row], column.offsets[row + 1] - column.offsets[row]);
      }
    }
  }
}

BlockDelta::Answer BlockDelta::diff(const BlockView &full, bool force_full, Bytes *delta, CodecError *error) {
  if (full.kind != BlockKind::Full) {
    error->set("codec_argument", "a delta is made from full blocks");
    return Answer::Error;
  }
  bool same = full.columns.size() == columns_.size();
  for (size_t i = 0; same && i < columns_.size(); i++)
    same = full.columns[i].type == columns_[i].type && full.columns[i].name == columns_[i].name;
  if (!same) {
    error->set("codec_columns", "the block has other columns than the delta's");
    return Answer::Error;
  }

  std::vector<Hash128> key_hashes, row_hashes;
  hash_rows(full, keys_, &key_hashes);
  hash_rows(full, others_, &row_hashes);
  Table next;
  size_t slots = 16;
  while (slots < 2 * static_cast<size_t>(full.rows)) slots *= 2;
  next.slots.assign(slots, Entry{});
  std::vector<uint32_t> changed;
  for (uint32_t row = 0; row < full.rows; row++) {
    Entry *entry = next.find(key_hashes[row]);
    if (entry->place != 0) {
      error->set("codec_duplicate_key", "rows " + std::to_string(entry->place) + " and " + std::to_string(row + 1) +
                                            " of probe \"" + std::string(full.probe) + "\" have the same key");
      return Answer::Error;
    }
    *entry = {key_hashes[row], row_hashes[row], row + 1};
  }
  Answer answer = Answer::Full;
  if (!first_ && !force_full) {
    std::vector<uint8_t> seen(count_, 0);
    for (uint32_t row = 0; row < full.rows; row++) {
      const Entry *old = table_.find(key_hashes[row]);
      if (old->place != 0) seen[old->place - 1] = 1;
      if (old->place == 0 || !(old->row == row_hashes[row])) changed.push_back(row);
    }
    std::vector<uint32_t> gone;
    for (uint32_t row = 0; row < count_; row++)
      if (seen[row] == 0) gone.push_back(row);
    answer = changed.empty() && gone.empty() ? Answer::Same : Answer::Delta;
    if (answer == Answer::Delta && changed.size() + gone.size() > kMaxRows) {
      answer = Answer::Full;
    } else if (answer == Answer::Delta && !write_delta(full, changed, gone, delta, error)) {
      return Answer::Error;
    }
  }
  table_ = std::move(next);
  keep_keys(full);
  count_ = full.rows;
  first_ = false;
  return answer;
}

void BlockDelta::keep_keys(const BlockView &full) {
  kept_.resize(keys_.size());
  for (size_t k = 0; k < keys_.size(); k++) {
    const ColumnView &column = full.columns[keys_[k]];
    KeyColumn &kept = kept_[k];
    if (column.nulls != nullptr)
      kept.nulls.assign(column.nulls, column.nulls + (full.rows + 7) / 8);
    else
      kept.nulls.assign((full.rows + 7) / 8, 0);
    if (column.width != 0) {
      kept.fixed.assign(column.fixed, column.fixed + static_cast<size_t>(full.rows) * column.width);
    } else {
      kept.offsets.assign(column.offsets, column.offsets + full.rows + 1);
      kept.bytes.assign(column.bytes, column.bytes + column.offsets[full.rows]);
    }
  }
}

bool BlockDelta::write_delta(const BlockView &full, const std::vector<uint32_t> &changed,
                             const std::vector<uint32_t> &gone, Bytes *out, CodecError *error) const {
  struct Gathered {
    Buffer nulls, fixed, offsets, bytes;
    bool any_null = false;
  };
  const uint32_t rows = static_cast<uint32_t>(changed.size() + gone.size());
  std::vector<Gathered> gathered(columns_.size());
  std::vector<ColumnData> data;
  for (uint32_t i = 0; i < columns_.size(); i++) {
    const ColumnView &column = full.columns[i];
    Gathered &to = gathered[i];
    const auto key = std::find(keys_.begin(), keys_.end(), i);
    const KeyColumn *kept = key == keys_.end() ? nullptr : &kept_[static_cast<size_t>(key - keys_.begin())];
    to.nulls.append_zeros((static_cast<size_t>(rows) + 7) / 8);
    if (column.width == 0) to.offsets.append_zeros(4);
    uint32_t at = 0;
    const auto put = [&](bool null, const uint8_t *p, size_t n) {
      if (null) {
        to.nulls.data()[at >> 3] |= static_cast<uint8_t>(1u << (at & 7));
        to.any_null = true;
      }
      if (column.width != 0) {
        if (null)
          to.fixed.append_zeros(column.width);
        else
          to.fixed.append(p, n);
      } else {
        if (!null) to.bytes.append(p, n);
        const uint32_t end = static_cast<uint32_t>(to.bytes.size());
        to.offsets.append(reinterpret_cast<const uint8_t *>(&end), 4);
      }
      at++;
    };
    const auto put_from = [&](bool null, uint32_t row, const uint8_t *fixed, const uint32_t *offsets,
                              const uint8_t *bytes) {
      if (column.width != 0)
        put(null, fixed + static_cast<size_t>(row) * column.width, column.width);
      else
        put(null, bytes + offsets[row], offsets[row + 1] - offsets[row]);
    };
    for (uint32_t row : changed) put_from(column.is_null(row), row, column.fixed, column.offsets, column.bytes);
    for (uint32_t row : gone) {
      if (kept == nullptr)
        put(true, nullptr, 0);
      else
        put_from((kept->nulls[row >> 3] >> (row & 7) & 1) != 0, row, kept->fixed.data(), kept->offsets.data(),
                 kept->bytes.data());
    }
    data.push_back({column.name.data(), column.name.size(), column.type, to.any_null ? to.nulls.data() : nullptr,
                    to.fixed.data(), reinterpret_cast<const uint32_t *>(to.offsets.data()), to.bytes.data()});
  }
  BlockMeta meta = full.meta();
  meta.kind = BlockKind::Delta;
  return write_block(meta, rows, static_cast<uint32_t>(gone.size()), data, out, error);
}

}  // namespace pem
