// Filters of trace rows; see trace_filter.h.
#include "trace_filter.h"

#include <cstring>
#include <string_view>

namespace pem {
namespace {

bool begins(std::string_view tag, std::string_view word) { return tag.substr(0, word.size()) == word; }

bool matches(const std::vector<std::string> &wanted, const CsvWindowColumn &column, uint32_t row) {
  if (wanted.empty()) return true;
  const CsvText &text = column.texts[row];
  for (const std::string &one : wanted)
    if (one.size() == text.size && std::memcmp(one.data(), text.data, text.size) == 0) return true;
  return false;
}

// scratch: a copy that ends with a NUL, as regexec wants it; texts hold none.
bool found(const regex_t *pattern, const CsvText &text, std::string *scratch) {
  scratch->assign(reinterpret_cast<const char *>(text.data), text.size);
  return text.size != 0 && regexec(pattern, scratch->c_str(), 0, nullptr, 0) == 0;
}

}  // namespace

uint32_t TraceKindOf(const uint8_t *p, size_t n) {
  const std::string_view tag(reinterpret_cast<const char *>(p), n);
  // In the order of their number in most traces.
  if (tag == "SELECT") return kTraceSelect;
  if (tag == "INSERT") return kTraceInsert;
  if (tag == "UPDATE") return kTraceUpdate;
  if (tag == "BEGIN" || tag == "COMMIT" || tag == "ROLLBACK") return kTraceTxn;
  if (tag == "DELETE") return kTraceDelete;
  if (tag == "MERGE") return kTraceMerge;
  if (tag == "COPY") return kTraceCopy;
  for (const char *word : {"START TRANSACTION", "SAVEPOINT", "RELEASE", "PREPARE TRANSACTION", "COMMIT ", "ROLLBACK "})
    if (begins(tag, word)) return kTraceTxn;
  if (tag == "ALTER SYSTEM") return kTraceUtility;
  for (const char *word : {"CREATE ", "ALTER ", "DROP ", "TRUNCATE", "GRANT", "REVOKE", "COMMENT", "REINDEX", "SELECT INTO",
                           "REFRESH ", "SECURITY LABEL", "IMPORT ", "REASSIGN "})
    if (begins(tag, word)) return kTraceDdl;
  return kTraceUtility;
}

bool TraceFilter::set_pattern(const std::string &pattern, std::string *why) {
  auto compiled = std::make_unique<regex_t>();
  const int failure = regcomp(compiled.get(), pattern.c_str(), REG_EXTENDED | REG_ICASE | REG_NOSUB);
  if (failure != 0) {
    char text[256];
    regerror(failure, compiled.get(), text, sizeof text);
    *why = text;
    return false;
  }
  pattern_ = std::shared_ptr<regex_t>(compiled.release(), [](regex_t *made) {
    regfree(made);
    delete made;
  });
  return true;
}

CsvColumnSet TraceFilter::columns() const {
  CsvColumnSet set;
  set[CSV_COL_end_time] = from_us != INT64_MIN || to_us != INT64_MAX;
  set[CSV_COL_exec_us] = min_us > 0;
  set[CSV_COL_database] = !databases.empty();
  set[CSV_COL_username] = !usernames.empty();
  set[CSV_COL_application] = !applications.empty();
  set[CSV_COL_client] = !clients.empty();
  set[CSV_COL_tag] = (kinds & kTraceAnyKind) != kTraceAnyKind;
  set[CSV_COL_sqlstate] = errors;
  set[CSV_COL_level] = top;
  set[CSV_COL_query] = set[CSV_COL_error] = pattern_ != nullptr;
  return set;
}

bool TraceFilter::picky() const { return columns().any(); }

bool TraceFilter::passes(const CsvWindow &w, uint32_t row, std::string *scratch) const {
  const CsvWindowColumn *columns = w.columns;
  if (from_us != INT64_MIN || to_us != INT64_MAX) {
    const int64_t at = columns[CSV_COL_end_time].values[row];
    if (columns[CSV_COL_end_time].is_null(row) || at < from_us || at >= to_us) return false;
  }
  // A statement whose time is not known was too short to be measured, or is none.
  if (min_us > 0 && columns[CSV_COL_exec_us].values[row] < min_us) return false;
  if (errors && columns[CSV_COL_sqlstate].texts[row].size == 0) return false;
  if (top && columns[CSV_COL_level].values[row] > 0) return false;
  if (!matches(databases, columns[CSV_COL_database], row) || !matches(usernames, columns[CSV_COL_username], row) ||
      !matches(applications, columns[CSV_COL_application], row) || !matches(clients, columns[CSV_COL_client], row))
    return false;
  if ((kinds & kTraceAnyKind) != kTraceAnyKind) {
    const CsvText &tag = columns[CSV_COL_tag].texts[row];
    if ((TraceKindOf(tag.data, tag.size) & kinds) == 0) return false;
  }
  return pattern_ == nullptr || found(pattern_.get(), columns[CSV_COL_query].texts[row], scratch) ||
         found(pattern_.get(), columns[CSV_COL_error].texts[row], scratch);
}

uint32_t TraceFilter::pick(const CsvWindow &window, uint8_t *rows) const {
  uint32_t picked = 0;
  if (!picky()) {
    for (uint32_t row = 0; row < window.rows; row++) rows[row] = static_cast<uint8_t>(row);
    return window.rows;
  }
  std::string scratch;
  for (uint32_t row = 0; row < window.rows; row++)
    if (passes(window, row, &scratch)) rows[picked++] = static_cast<uint8_t>(row);
  return picked;
}

static_assert(kCsvWindowRows <= 256, "places of rows are bytes");

}  // namespace pem
