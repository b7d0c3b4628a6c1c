// Rows of a trace as text for people's programs: CSV in the trace's own form, in UTF-8 and with the columns asked for, or
// JSON, one object a line.
//
// In: windows of csv_window.h. Out: bytes appended to a buffer of the caller; each row ends with "\n". JSON leaves out what
// is unknown; times are "2026-11-23T08:15:30.123456Z", numbers that may have more than 53 bits (query_id) are strings. CSV is
// read again by the reader of traces: times are microseconds, encoding is UTF8. Nothing is kept between calls.
#pragma once

#include "csv_block.h"
#include "csv_window.h"
#include "memory.h"

namespace pem {

enum class TraceForm { Csv, Json };

// The header line of CSV with these columns.
void AppendTraceHeader(const CsvColumnSet &columns, Buffer *out);

void AppendTraceRow(const CsvWindow &window, uint32_t row, const CsvColumnSet &columns, TraceForm form, Buffer *out);

// "2026-11-23T08:15:30.123456Z" at p, which has room for kTraceTimeBytes; answers the bytes written. +-infinity as words.
constexpr size_t kTraceTimeBytes = 48;
size_t WriteTraceTime(int64_t us, char *p);

}  // namespace pem
