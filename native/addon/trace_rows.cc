// Rows of a trace as CSV or JSON; see trace_rows.h.
#include "trace_rows.h"

#include <cstdio>
#include <cstring>

#include "../core/csv_writer.h"

namespace pem {
namespace {

constexpr int64_t kDayUs = 86'400'000'000;

// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar; the year begins in March inside.
void civil_of(int64_t days, int64_t *year, uint32_t *month, uint32_t *day) {
  const int64_t shifted = days + 719468;
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  const uint32_t of_era = static_cast<uint32_t>(shifted - era * 146097);
  const uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const uint32_t march = (5 * of_year + 2) / 153;
  *day = of_year - (153 * march + 2) / 5 + 1;
  *month = march < 10 ? march + 3 : march - 9;
  *year = static_cast<int64_t>(year_of_era) + era * 400 + (*month <= 2);
}

char *two(char *p, uint32_t value) {
  std::memcpy(p, csvw_pairs + 2 * value, 2);
  return p + 2;
}

char *room(Buffer *out, size_t bytes) {
  out->reserve_more(bytes);
  return reinterpret_cast<char *>(out->data() + out->size());
}

void used_to(Buffer *out, const char *end) {
  out->resize(static_cast<size_t>(reinterpret_cast<const uint8_t *>(end) - out->data()));
}

constexpr char kHex[] = "0123456789abcdef";

// A JSON string of valid UTF-8; at most 6 bytes for each, and quotes.
char *json_text(char *p, const uint8_t *text, size_t n) {
  *p++ = '"';
  for (size_t i = 0; i < n; i++) {
    const uint8_t byte = text[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
      *p++ = static_cast<char>(byte);
      continue;
    }
    *p++ = '\\';
    switch (byte) {
      case '\n': *p++ = 'n'; break;
      case '\t': *p++ = 't'; break;
      case '\r': *p++ = 'r'; break;
      case '"':
      case '\\': *p++ = static_cast<char>(byte); break;
      default:
        std::memcpy(p, "u00", 3);
        p[3] = kHex[byte >> 4];
        p[4] = kHex[byte & 15];
        p += 5;
    }
  }
  *p++ = '"';
  return p;
}

void append_json(const CsvWindow &window, uint32_t row, const CsvColumnSet &columns, Buffer *out) {
  bool first = true;
  *room(out, 1) = '{';
  out->resize(out->size() + 1);
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    const CsvWindowColumn &column = window.columns[id];
    if (!columns[id] || column.is_null(row)) continue;
    const char *name = kCsvColumns[id].name;
    const size_t name_bytes = std::strlen(name);
    const size_t text_bytes = column.texts == nullptr ? kTraceTimeBytes : size_t{6} * column.texts[row].size;
    char *p = room(out, name_bytes + text_bytes + 16);
    if (!first) *p++ = ',';
    first = false;
    *p++ = '"';
    std::memcpy(p, name, name_bytes);
    p += name_bytes;
    *p++ = '"';
    *p++ = ':';
    if (column.texts != nullptr) {
      p = json_text(p, column.texts[row].data, column.texts[row].size);
    } else if (kCsvColumns[id].type == COL_TIMESTAMPTZ) {
      *p++ = '"';
      p += WriteTraceTime(column.values[row], p);
      *p++ = '"';
    } else if (id == CSV_COL_query_id) {
      *p++ = '"';
      p = csvw_i64(p, column.values[row]);
      *p++ = '"';
    } else {
      p = csvw_i64(p, column.values[row]);
    }
    used_to(out, p);
  }
  char *p = room(out, 2);
  *p++ = '}';
  *p++ = '\n';
  used_to(out, p);
}

void append_csv(const CsvWindow &window, uint32_t row, const CsvColumnSet &columns, Buffer *out) {
  bool first = true;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!columns[id]) continue;
    const CsvWindowColumn &column = window.columns[id];
    char *p = room(out, 1 + (column.texts == nullptr ? CSVW_NUMBER_BYTES : CSVW_TEXT_BYTES(column.texts[row].size)));
    if (!first) *p++ = ',';
    first = false;
    if (id == CSV_COL_encoding && !column.is_null(row)) {
      p = csvw_text(p, "UTF8", 4);
    } else if (!column.is_null(row)) {
      p = column.texts == nullptr
              ? csvw_i64(p, column.values[row])
              : csvw_text(p, reinterpret_cast<const char *>(column.texts[row].data), column.texts[row].size);
    }
    used_to(out, p);
  }
  *room(out, 1) = '\n';
  out->resize(out->size() + 1);
}

}  // namespace

size_t WriteTraceTime(int64_t us, char *p) {
  if (us == INT64_MAX || us == INT64_MIN)
    return static_cast<size_t>(std::snprintf(p, kTraceTimeBytes, "%sinfinity", us == INT64_MIN ? "-" : ""));
  const char *from = p;
  const int64_t days = us / kDayUs - (us % kDayUs < 0);
  const int64_t of_day = us - days * kDayUs;
  const uint32_t seconds = static_cast<uint32_t>(of_day / 1'000'000);
  int64_t year;
  uint32_t month, day;
  civil_of(days, &year, &month, &day);
  if (year >= 0 && year <= 9999) {
    p = two(p, static_cast<uint32_t>(year / 100));
    p = two(p, static_cast<uint32_t>(year % 100));
  } else {
    p += std::snprintf(p, 16, "%+07lld", static_cast<long long>(year));
  }
  *p++ = '-';
  p = two(p, month);
  *p++ = '-';
  p = two(p, day);
  *p++ = 'T';
  p = two(p, seconds / 3600);
  *p++ = ':';
  p = two(p, seconds / 60 % 60);
  *p++ = ':';
  p = two(p, seconds % 60);
  *p++ = '.';
  p = csvw_six(p, static_cast<uint32_t>(of_day % 1'000'000));
  *p++ = 'Z';
  return static_cast<size_t>(p - from);
}

void AppendTraceHeader(const CsvColumnSet &columns, Buffer *out) {
  bool first = true;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!columns[id]) continue;
    const std::string name = std::string(first ? "" : ",") + kCsvColumns[id].name;
    out->append(reinterpret_cast<const uint8_t *>(name.data()), name.size());
    first = false;
  }
  const uint8_t feed = '\n';
  out->append(&feed, 1);
}

void AppendTraceRow(const CsvWindow &window, uint32_t row, const CsvColumnSet &columns, TraceForm form, Buffer *out) {
  if (form == TraceForm::Json)
    append_json(window, row, columns, out);
  else
    append_csv(window, row, columns, out);
}

}  // namespace pem
