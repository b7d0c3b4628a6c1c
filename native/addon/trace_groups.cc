// Groups of statements by a name; see trace_groups.h.
#include "trace_groups.h"

#include <algorithm>
#include <cstring>

#include "../core/hash64.h"

namespace pem {
namespace {

bool weighs_more(const TraceGroup &a, const TraceGroup &b) {
  return a.exec_us != b.exec_us ? a.exec_us > b.exec_us : a.calls + a.nested > b.calls + b.nested;
}

void merge(TraceGroup *into, const TraceGroup &from) {
  into->calls += from.calls;
  into->nested += from.nested;
  into->errors += from.errors;
  into->rows += from.rows;
  into->exec_us += from.exec_us;
  into->max_us = std::max(into->max_us, from.max_us);
  into->blocks_read += from.blocks_read;
  into->wal_bytes += from.wal_bytes;
  hist_merge(into->counts.get(), from.counts.get());
}

}  // namespace

TraceGroups::TraceGroups(uint32_t most) : most_(std::max(most, 2u)) {
  uint32_t slots = 8;
  while (slots < most_ * 2) slots *= 2;
  slots_.resize(slots);
  groups_.reserve(most_);
  others_.counts = std::make_unique<uint64_t[]>(HIST_BUCKETS);
}

uint32_t TraceGroups::slot_of(const char *name, size_t n, bool known) const {
  const uint32_t mask = static_cast<uint32_t>(slots_.size() - 1);
  uint32_t at = static_cast<uint32_t>(h64(name, n, known)) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    const TraceGroup &group = groups_[slots_[at] - 1];
    if (group.known == known && group.name.size() == n && std::memcmp(group.name.data(), name, n) == 0) break;
  }
  return at;
}

TraceGroup *TraceGroups::find(const CsvText &name, bool known) {
  const char *text = reinterpret_cast<const char *>(name.data);
  uint32_t slot = slot_of(text, name.size, known);
  if (slots_[slot] != 0) return &groups_[slots_[slot] - 1];
  if (groups_.size() == most_) {
    drop_half();
    slot = slot_of(text, name.size, known);
  }
  TraceGroup made;
  made.name.assign(text, name.size);
  made.known = known;
  made.counts = std::make_unique<uint64_t[]>(HIST_BUCKETS);
  groups_.push_back(std::move(made));
  slots_[slot] = static_cast<uint32_t>(groups_.size());
  return &groups_.back();
}

void TraceGroups::drop_half() {
  std::nth_element(groups_.begin(), groups_.begin() + most_ / 2, groups_.end(), weighs_more);
  for (size_t i = most_ / 2; i < groups_.size(); i++) merge(&others_, groups_[i]);
  std::fill(std::begin(quick_), std::end(quick_), nullptr);
  dropped_ += groups_.size() - most_ / 2;
  groups_.erase(groups_.begin() + most_ / 2, groups_.end());
  std::fill(slots_.begin(), slots_.end(), 0);
  for (size_t i = 0; i < groups_.size(); i++)
    slots_[slot_of(groups_[i].name.data(), groups_[i].name.size(), groups_[i].known)] = static_cast<uint32_t>(i + 1);
}

std::vector<const TraceGroup *> TraceGroups::sorted() const {
  std::vector<const TraceGroup *> list;
  for (const TraceGroup &group : groups_) list.push_back(&group);
  std::sort(list.begin(), list.end(), [](const TraceGroup *a, const TraceGroup *b) { return weighs_more(*a, *b); });
  return list;
}

}  // namespace pem
