// What a trace's statements come to by one name: database, user, application, client or command tag.
//
// In: a name and a call at a time. Out: groups, and one of "others". Owner: the table, about 5 kB for each name. Full: the
// half of the names with the least time goes to "others", counted; sums over all groups stay exact, a name that went and came
// again shows only what came since. Not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../core/histogram.h"
#include "csv_window.h"

namespace pem {

struct TraceGroup {
  std::string name;
  bool known = false;  // false: the rows had no such name (NULL)
  uint64_t calls = 0, nested = 0, errors = 0, rows = 0, exec_us = 0, max_us = 0, blocks_read = 0, wal_bytes = 0;
  std::unique_ptr<uint64_t[]> counts;  // a histogram
};

class TraceGroups {
 public:
  explicit TraceGroups(uint32_t most);
  // The group of a name; good until the next call.
  TraceGroup *of(const CsvText &name, bool known) {
    // Neighbours often have one of a few names: they are looked for by length and ends first.
    const uint32_t ends = name.size == 0 ? 0 : name.size | name.data[0] << 8 | name.data[name.size - 1] << 16;
    TraceGroup *&quick = quick_[ends * 0x9e3779b1u >> (32 - kQuickBits)];
    if (quick != nullptr && quick->known == known && quick->name.size() == name.size &&
        std::char_traits<char>::compare(quick->name.data(), reinterpret_cast<const char *>(name.data), name.size) == 0)
      return quick;
    TraceGroup *found = find(name, known);
    return quick = found;
  }
  // The groups, most time first.
  std::vector<const TraceGroup *> sorted() const;
  const TraceGroup &others() const { return others_; }
  // Names that went to "others".
  uint64_t dropped() const { return dropped_; }

 private:
  TraceGroup *find(const CsvText &name, bool known);
  uint32_t slot_of(const char *name, size_t n, bool known) const;
  void drop_half();

  const uint32_t most_;
  std::vector<TraceGroup> groups_;
  std::vector<uint32_t> slots_;  // place in groups_ and 1; 0: free
  TraceGroup others_;
  static constexpr uint32_t kQuickBits = 6;
  TraceGroup *quick_[1u << kQuickBits] = {};
  uint64_t dropped_ = 0;
};

// One call.
inline void AddToGroup(TraceGroup *group, bool nested, bool failed, bool timed, uint64_t exec_us, uint64_t rows,
                       uint64_t blocks_read, uint64_t wal_bytes) {
  if (nested) {
    // Its time, rows and errors are contained in those of the statement that called it.
    group->nested++;
    return;
  }
  group->calls++;
  group->errors += failed;
  group->rows += rows;
  group->blocks_read += blocks_read;
  group->wal_bytes += wal_bytes;
  if (!timed) return;
  group->exec_us += exec_us;
  if (exec_us > group->max_us) group->max_us = exec_us;
  group->counts[hist_bucket(exec_us)]++;
}

}  // namespace pem
