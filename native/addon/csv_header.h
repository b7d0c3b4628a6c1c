// The columns of trace files, and the header line of one: which of them stands where.
//
// In: the bytes of a header line, which may be anybody's. Out: places by CSV_COL_<name>, names that are not known. Owner: the
// object; it reads a line once and knows it again.
#pragma once

#include <string>
#include <vector>

#include "../core/csv_columns.h"
#include "block_types.h"

namespace pem {

struct CsvColumnInfo {
  const char *name;
  col_type type;
  const char *unit;
  uint32_t min_server_version;
};
// By CSV_COL_<name>.
extern const CsvColumnInfo kCsvColumns[CSV_COLUMN_COUNT];

struct CsvHeader {
  std::string line;  // as it was read last; empty: none
  uint32_t fields = 0;
  int32_t place[CSV_COLUMN_COUNT];  // in a row; -1: not in this file
  std::vector<std::string> unknown;

  bool is(const uint8_t *p, size_t n) const;
  // Reads a whole line, with its line end or without. False: *why, and *at, the byte of the line where it shows.
  bool read(const uint8_t *p, size_t n, std::string *why, size_t *at);
};

}  // namespace pem
