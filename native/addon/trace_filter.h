// Which rows of a trace are wanted: time, database, user, application, client, duration, kind of command, errors, a pattern
// in the text. One meaning for report, tail and export.
//
// In: windows of csv_window.h, read with the columns that columns() names. Out: places of the rows that pass, in order.
// Owner: the caller; a filter does not change once made, and any number of threads may use it. Nothing is kept.
#pragma once

#include <regex.h>

#include <memory>
#include <string>
#include <vector>

#include "csv_window.h"

namespace pem {

// Kinds of commands, as the profiler's filter names them; told from the column tag.
enum TraceKind : uint32_t {
  kTraceSelect = 1u << 0,
  kTraceInsert = 1u << 1,
  kTraceUpdate = 1u << 2,
  kTraceDelete = 1u << 3,
  kTraceMerge = 1u << 4,
  kTraceDdl = 1u << 5,
  kTraceUtility = 1u << 6,
  kTraceCopy = 1u << 7,
  kTraceTxn = 1u << 8,
  kTraceAnyKind = (1u << 9) - 1
};

struct TraceKindName {
  const char *name;
  uint32_t kind;
};
constexpr TraceKindName kTraceKinds[] = {
    {"select", kTraceSelect}, {"insert", kTraceInsert},   {"update", kTraceUpdate}, {"delete", kTraceDelete}, {"merge", kTraceMerge},
    {"ddl", kTraceDdl},       {"utility", kTraceUtility}, {"copy", kTraceCopy},     {"txn", kTraceTxn},
};

uint32_t TraceKindOf(const uint8_t *tag, size_t n);

struct TraceFilter {
  int64_t from_us = INT64_MIN;  // of the end time, us since 1970 UTC: from, and up to but not including
  int64_t to_us = INT64_MAX;
  int64_t min_us = 0;  // of the execution time
  // None: all. Compared byte by byte.
  std::vector<std::string> databases, usernames, applications, clients;
  uint32_t kinds = kTraceAnyKind;
  bool errors = false;  // failed statements alone
  bool top = false;     // no nested statements

  // An extended regular expression (POSIX, case does not matter) that the statement's text or its error must match. False:
  // it is none, *why says what is wrong.
  bool set_pattern(const std::string &pattern, std::string *why);

  // What it looks at.
  CsvColumnSet columns() const;
  // Does it leave anything out?
  bool picky() const;
  // Writes the numbers of the rows that pass (room for window.rows) and answers how many there are.
  uint32_t pick(const CsvWindow &window, uint8_t *rows) const;

 private:
  bool passes(const CsvWindow &window, uint32_t row, std::string *scratch) const;
  std::shared_ptr<regex_t> pattern_;
};

}  // namespace pem
