// Columns and headers of trace files; see csv_header.h.
#include "csv_header.h"

#include <algorithm>
#include <cstring>

#include "../core/csv_reader.h"

namespace pem {

const CsvColumnInfo kCsvColumns[CSV_COLUMN_COUNT] = {
#define PEM_CSV_COLUMN(name, type, unit, version) {#name, COL_##type, unit, version},
    CSV_COLUMNS(PEM_CSV_COLUMN)
#undef PEM_CSV_COLUMN
};

namespace {

// The column of that name; looks at `first` first. CSV_COLUMN_COUNT: none.
uint32_t column_by_name(const std::string &name, uint32_t first) {
  for (uint32_t i = 0; i < CSV_COLUMN_COUNT; i++) {
    const uint32_t id = (first + i) % CSV_COLUMN_COUNT;
    if (name == kCsvColumns[id].name) return id;
  }
  return CSV_COLUMN_COUNT;
}

// The name between begin and end, which is the place of a comma or LF.
std::string name_of(const std::string &line, size_t begin, size_t end) {
  std::string name = line.substr(begin, end - begin);
  if (line[end] == '\n' && !name.empty() && name.back() == '\r') name.pop_back();
  if (name.size() < 2 || name[0] != '"') return name;
  std::vector<uint8_t> plain(name.size());
  const size_t size = csvr_unquote(reinterpret_cast<const uint8_t *>(name.data()) + 1, name.size() - 2, plain.data());
  return std::string(plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(size));
}

}  // namespace

bool CsvHeader::is(const uint8_t *p, size_t n) const {
  return n != 0 && n == line.size() && std::memcmp(p, line.data(), n) == 0;
}

bool CsvHeader::read(const uint8_t *p, size_t n, std::string *why, size_t *at) {
  line.clear();
  unknown.clear();
  fields = 0;
  std::fill_n(place, static_cast<size_t>(CSV_COLUMN_COUNT), -1);
  std::string whole(reinterpret_cast<const char *>(p), n);
  if (whole.empty() || whole.back() != '\n') whole += '\n';
  const uint8_t *bytes = reinterpret_cast<const uint8_t *>(whole.data());
  uint32_t next = 0;  // where the column of a file of this version stands in the list
  for (size_t end = 0; end < whole.size(); end++) {
    const size_t begin = end;
    *at = begin;
    csvr_fault fault;
    if (!csvr_field_end(bytes, whole.size(), &end, &fault)) {
      *at = end;
      *why = fault != CSVR_FINE ? csvr_fault_text(fault) : "the header line ends inside quotes";
      return false;
    }
    std::string name = name_of(whole, begin, end);
    const uint32_t id = column_by_name(name, next);
    if (id == CSV_COLUMN_COUNT) {
      unknown.push_back(std::move(name));
    } else if (place[id] >= 0) {
      *why = "column \"" + name + "\" stands twice in the header";
      return false;
    } else {
      place[id] = static_cast<int32_t>(fields);
      next = id + 1;
    }
    if (++fields > kMaxColumns) {
      *why = "a header of more than 256 columns";
      return false;
    }
    if (whole[end] == '\n' && end + 1 != whole.size()) {
      *why = "a header of more than one line";
      return false;
    }
  }
  *at = 0;
  if (unknown.size() == fields) {
    *why = "this is no header line: it names no column of a trace file";
    return false;
  }
  line.assign(reinterpret_cast<const char *>(p), n);
  return true;
}

}  // namespace pem
