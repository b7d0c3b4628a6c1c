// A trace file's bytes -> windows of rows; see csv_window.h.
//
// A window is read column by column: one short loop for each, whose branches the processor learns, since a column's fields
// resemble each other. Where a row of a window is bad the rows before it are handed out; the next call finds it again at its
// own beginning and deals with it there.
#include "csv_window.h"

#include <algorithm>
#include <cstring>

#include "../core/csv_reader.h"
#include "../core/encoding.h"
#include "csv_multibyte.h"
#include "../core/utf8.h"
#include "memory.h"

namespace pem {
namespace {

// What a window's rows are looked for in: it fits the processor's second cache. A longer row is read alone.
constexpr size_t kWindowBytes = 256u << 10;
constexpr size_t kMaxHeaderBytes = 64u << 10;
constexpr uint32_t kWords = kCsvWindowRows / 64;
// Windows between two looks at which columns may be constant, and what that is worth the effort for.
constexpr uint32_t kLookEvery = 16;
constexpr uint32_t kLeastConstantRows = 16, kLeastConstantColumns = 2;
// Rows tried at once behind a bad one, so that a file of bad rows is not parsed over and over.
constexpr uint32_t kCarefulRows = 8;

// Memory for texts that do not stand in the piece as they should; all of it is free again at the next window.
class Scratch {
 public:
  uint8_t *take(size_t n) {
    if (n > left_) {
      left_ = std::max(n, kWindowBytes);
      chunks_.emplace_back(new uint8_t[left_]);
      next_ = chunks_.back().get();
    }
    uint8_t *taken = next_;
    next_ += n;
    left_ -= n;
    return taken;
  }
  // The last n bytes taken were not needed.
  void give(size_t n) {
    next_ -= n;
    left_ += n;
  }
  void clear() {
    // The first chunk is always of one size, unless a long text came first.
    if (chunks_.size() > 1 || (chunks_.size() == 1 && next_ + left_ != chunks_[0].get() + kWindowBytes)) chunks_.clear();
    next_ = chunks_.empty() ? nullptr : chunks_[0].get();
    left_ = chunks_.empty() ? 0 : kWindowBytes;
  }

 private:
  std::vector<std::unique_ptr<uint8_t[]>> chunks_;
  uint8_t *next_ = nullptr;
  size_t left_ = 0;
};

// A column that is asked for.
struct Taken {
  uint32_t id;
  col_type type;
  bool key;
  uint32_t limit;   // texts: bytes
  int64_t least;    // numbers: the type's range
  int64_t most;
  uint32_t memory;  // which of the arrays is its
};

bool is_text(col_type type) { return type == COL_TEXT || type == COL_NAME; }

Taken make_taken(uint32_t id, const CsvReadOptions &options) {
  Taken taken = {id, kCsvColumns[id].type, options.keys[id], options.max_text_bytes, INT64_MIN, INT64_MAX, 0};
  if (taken.type == COL_NAME) taken.limit = COL_NAME_BYTES;
  if (taken.type == COL_INT4) {
    taken.least = INT32_MIN;
    taken.most = INT32_MAX;
  } else if (taken.type == COL_XID) {
    taken.least = 0;
    taken.most = UINT32_MAX;
  } else if (taken.type == COL_TIMESTAMPTZ) {
    taken.least = COL_TIME_MIN_US;
    taken.most = COL_TIME_MAX_US;
  }
  return taken;
}

}  // namespace

struct CsvReader::State {
  CsvReadOptions options;
  std::vector<Taken> numbers, texts;

  // The piece.
  const uint8_t *data = nullptr;
  size_t size = 0, at = 0;
  uint64_t from = 0;
  bool end = false;
  CsvHeader header;
  uint32_t fields = 0;             // of the header
  const int32_t *place = nullptr;  // of its columns in a row; -1: not in this file

  // The window.
  const uint8_t *rows_at = nullptr;  // where its first row's bytes are
  size_t before = 0;                 // bytes in front of them that may be read
  std::vector<uint32_t> ends_memory;
  csvr_found found = {};
  uint32_t handed = 0;
  uint32_t careful = kCsvWindowRows;
  Bytes memory;  // of the next three; from the pool, which keeps it warm for the next reader
  int64_t *values = nullptr;
  CsvText *spans = nullptr;
  uint64_t *nulls = nullptr;  // kWords for each column, by id
  uint64_t row_at[kCsvWindowRows];
  uint32_t begins_copy[kCsvWindowRows], ends_copy[kCsvWindowRows];
  // By place in the file: a backend's session stands in each of its rows, and most counters are 0. Runs of columns that hold
  // the same in the whole window are compared as one piece of bytes and read once.
  bool candidate[kMaxColumns], constant[kMaxColumns];
  uint32_t until_look = 0;
  Scratch scratch;
  std::vector<uint8_t> tail;  // the last row of a file and the line end that it has not got
  const enc_encoding *encodings[kCsvWindowRows];
  MultibyteTexts multibyte;
  bool marked = false;  // any of:
  uint32_t escaped[kCsvWindowRows], cut[kCsvWindowRows];
  // The first bad row of the window: at least `handed` of them when there is none.
  uint32_t bad_row = 0;
  const char *bad_why = nullptr;
  uint32_t bad_column = 0;

  CsvCounts counts;
  uint64_t bad_at = 0;

  uint32_t *ends() { return ends_memory.data() + 1; }
  uint64_t *nulls_of(uint32_t id) { return nulls + id * kWords; }
  // Texts that are converted may come out differently: each row has an encoding of its own.
  bool is_constant(const Taken &taken) const {
    return place[taken.id] < 0 || (constant[place[taken.id]] && (found.plain || !is_text(taken.type)));
  }

  bool fail(uint64_t where, const std::string &why, CodecError *error) {
    bad_at = where;
    return error->set("codec_bad_csv", "byte " + std::to_string(where) + ": " + why);
  }
  bool read_header(const uint8_t *p, size_t n, uint64_t where, CodecError *error);
  bool bad(size_t where, const std::string &why, size_t length, CodecError *error);
  size_t bad_length(csvr_fault fault) const;
  bool find_rows(uint32_t most);
  void find_constants();
  void check_run(uint32_t first, uint32_t last, uint32_t row);
  bool differs(uint32_t column, uint32_t row);
  void mark_bad(const uint64_t *rows, uint32_t column, const char *why);
  void columns_of(int32_t column, const uint32_t **begins, const uint32_t **ends_at, uint32_t *step);
  void read_numbers(const Taken &taken);
  void read_key_texts(const Taken &taken);
  void read_texts(const Taken &taken, uint32_t rows);
  void read_encodings(uint32_t rows);
  void fix_text(const Taken &taken, uint32_t row, CsvText *text);
  void add_marks(uint32_t rows);
};

CsvReader::CsvReader(const CsvReadOptions &options) : state_(std::make_unique<State>()) {
  State &s = *state_;
  s.options = options;
  s.options.columns |= options.keys;
  s.place = s.header.place;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!s.options.columns[id]) continue;
    std::vector<Taken> &list = is_text(kCsvColumns[id].type) ? s.texts : s.numbers;
    list.push_back(make_taken(id, options));
    list.back().memory = static_cast<uint32_t>(list.size() - 1) * kCsvWindowRows;
  }
  const size_t values = s.numbers.size() * kCsvWindowRows, spans = s.texts.size() * kCsvWindowRows;
  s.memory = Bytes(values * sizeof *s.values + spans * sizeof *s.spans + CSV_COLUMN_COUNT * kWords * sizeof *s.nulls);
  s.values = reinterpret_cast<int64_t *>(s.memory.data());
  s.spans = reinterpret_cast<CsvText *>(s.values + values);
  s.nulls = reinterpret_cast<uint64_t *>(s.spans + spans);
  std::fill_n(s.escaped, kCsvWindowRows, 0);
  std::fill_n(s.cut, kCsvWindowRows, 0);
}

CsvReader::~CsvReader() = default;

bool CsvReader::open(const uint8_t *data, size_t size, const uint8_t *header, size_t header_size, uint64_t from_bytes,
                     bool end, CodecError *error) {
  State &s = *state_;
  s.data = data;
  s.size = size;
  s.at = 0;
  s.from = from_bytes;
  s.end = end;
  s.handed = 0;
  if (header_size != 0) return s.read_header(header, header_size, 0, error);
  csvr_fault fault;
  size_t fault_at = 0;
  size_t line = csvr_row_end(data, std::min(size, kMaxHeaderBytes), &fault, &fault_at);
  if (line == 0) {
    if (fault != CSVR_FINE) return s.fail(from_bytes + fault_at, csvr_fault_text(fault), error);
    if (size >= kMaxHeaderBytes) return s.fail(from_bytes, "no header line within 64 KiB", error);
    if (!end || size == 0) {
      s.size = 0;
      return true;
    }
    line = size;
  }
  s.at = line;
  return s.read_header(data, line, from_bytes, error);
}

// The header of the piece. False: nothing of the piece can be read.
bool CsvReader::State::read_header(const uint8_t *p, size_t n, uint64_t where, CodecError *error) {
  if (header.is(p, n)) return true;
  std::string why;
  size_t fault_at = 0;
  if (!header.read(p, n, &why, &fault_at)) {
    size = at = 0;
    return fail(where + fault_at, why, error);
  }
  fields = header.fields;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    if (!options.columns[id] || place[id] >= 0) continue;
    if (options.keys[id]) {
      header.line.clear();
      size = at = 0;
      return fail(where, std::string("the file has no column \"") + kCsvColumns[id].name + "\"", error);
    }
    std::fill_n(nulls_of(id), kWords, ~0ull);
  }
  for (const Taken &taken : numbers)
    if (place[taken.id] < 0) std::fill_n(values + taken.memory, kCsvWindowRows, 0);
  for (const Taken &taken : texts)
    if (place[taken.id] < 0) std::fill_n(spans + taken.memory, kCsvWindowRows, CsvText{memory.data(), 0});
  ends_memory.resize(CSVR_PLACES(kCsvWindowRows, fields) + 1);
  until_look = 0;
  return true;
}

// A bad row at `at`, its fault at byte `where` of the piece. True: it was skipped.
bool CsvReader::State::bad(size_t where, const std::string &why, size_t length, CodecError *error) {
  if (!options.skip_bad_rows) return fail(from + where, why, error);
  if (counts.bad_rows++ == 0) {
    counts.first_bad_at = from + where;
    counts.first_bad.set("codec_bad_csv", "byte " + std::to_string(from + where) + ": " + why);
  }
  at += length;
  careful = kCarefulRows;
  return true;
}

// Bytes of the bad row at `at`, where the next one may be hoped for: behind it when its quotes are sound, else behind the
// next line feed. 0: the piece ends before that.
size_t CsvReader::State::bad_length(csvr_fault fault) const {
  const uint8_t *row = data + at;
  const size_t left = size - at;
  size_t length = 0;
  if (fault == CSVR_FEW_FIELDS || fault == CSVR_MANY_FIELDS) {
    csvr_fault another = CSVR_FINE;
    size_t ignored = 0;
    length = csvr_row_end(row, std::min(left, kCsvMaxRowBytes), &another, &ignored);
    if (length != 0 || (another == CSVR_FINE && left < kCsvMaxRowBytes && !end)) return length;
  }
  const void *feed = std::memchr(row, '\n', left);
  if (feed != nullptr) return static_cast<size_t>(static_cast<const uint8_t *>(feed) - row) + 1;
  return end || left >= kCsvMaxRowBytes ? left : 0;
}

// Looks for at most `most` rows at `at`: found, rows_at and before say what there is.
bool CsvReader::State::find_rows(uint32_t most) {
  const size_t left = size - at;
  rows_at = data + at;
  before = at;
  csvr_scan(rows_at, std::min(left, kWindowBytes), fields, most, ends(), &found);
  if (found.rows != 0 || found.fault != CSVR_FINE) return true;
  if (left > kWindowBytes) {
    csvr_scan(rows_at, std::min(left, kCsvMaxRowBytes), fields, 1, ends(), &found);
    if (found.rows != 0 || found.fault != CSVR_FINE) return true;
  }
  if (!end || left >= kCsvMaxRowBytes) return false;
  tail.assign(rows_at, rows_at + left);
  tail.push_back('\n');
  rows_at = tail.data();
  before = 0;
  csvr_scan(rows_at, tail.size(), fields, 1, ends(), &found);
  return found.rows != 0 || found.fault != CSVR_FINE;
}

bool CsvReader::next(uint32_t max_rows, CsvWindow *window, CodecError *error) {
  State &s = *state_;
  window->rows = 0;
  s.scratch.clear();
  if (s.marked) {
    std::fill_n(s.escaped, kCsvWindowRows, 0);
    std::fill_n(s.cut, kCsvWindowRows, 0);
    s.marked = false;
  }
  for (;;) {
    const uint32_t most = std::min({max_rows, kCsvWindowRows, s.careful});
    if (most == 0 || s.at >= s.size) return true;
    if (!s.find_rows(most)) {
      const bool too_long = s.size - s.at >= kCsvMaxRowBytes;
      if (!too_long && !s.end) return true;
      const char *why = too_long ? "a row of more than 64 MiB" : "the file ends inside quotes";
      if (!s.bad(s.at, why, s.bad_length(CSVR_QUOTE_INSIDE), error)) return false;
      continue;
    }
    if (s.found.rows == 0) {
      const size_t length = s.options.skip_bad_rows ? s.bad_length(s.found.fault) : 1;
      if (length == 0) return true;
      if (!s.bad(s.at + s.found.fault_at, csvr_fault_text(s.found.fault), length, error)) return false;
      continue;
    }
    s.bad_row = s.found.rows;
    s.find_constants();
    for (const Taken &taken : s.numbers) s.read_numbers(taken);
    for (const Taken &taken : s.texts)
      if (taken.key) s.read_key_texts(taken);
    if (s.bad_row != 0) break;
    const uint32_t *ends = s.ends();
    const uint32_t field = static_cast<uint32_t>(s.place[s.bad_column]);
    const std::string why = "column \"" + std::string(kCsvColumns[s.bad_column].name) + "\": " + s.bad_why;
    const size_t length = std::min<size_t>(ends[s.fields - 1] + 1u, s.size - s.at);
    if (!s.bad(s.at + (ends[static_cast<std::ptrdiff_t>(field) - 1] + 1u), why, length, error)) return false;
  }

  const uint32_t rows = s.bad_row;
  s.careful = std::min(s.careful * 2, kCsvWindowRows);
  const uint32_t *ends = s.ends();
  const uint64_t base = s.from + s.at;
  s.row_at[0] = base;
  for (uint32_t row = 1; row < rows; row++) s.row_at[row] = base + ends[static_cast<size_t>(row) * s.fields - 1] + 1;
  s.at += std::min<size_t>(ends[static_cast<size_t>(rows) * s.fields - 1] + 1u, s.size - s.at);
  if (!s.found.plain) s.read_encodings(rows);
  for (const Taken &taken : s.texts) s.read_texts(taken, rows);
  if (s.marked) s.add_marks(rows);

  s.handed = rows;
  s.counts.rows += rows;
  std::memset(window->columns, 0, sizeof window->columns);
  window->rows = rows;
  window->row_at = s.row_at;
  window->bytes = s.rows_at;
  window->used = ends[static_cast<size_t>(rows) * s.fields - 1] + 1u;
  window->readable = s.rows_at == s.tail.data() ? s.tail.size() : s.size - s.before;
  const auto nulls_in = [&s](uint32_t id) -> const uint8_t * {
    const uint64_t *words = s.nulls_of(id);
    uint64_t any = 0;
    for (uint32_t word = 0; word < kWords; word++) any |= words[word];
    return any != 0 ? reinterpret_cast<const uint8_t *>(words) : nullptr;
  };
  for (const Taken &taken : s.numbers)
    window->columns[taken.id] = {s.values + taken.memory, nullptr, nulls_in(taken.id), s.is_constant(taken)};
  for (const Taken &taken : s.texts)
    window->columns[taken.id] = {nullptr, s.spans + taken.memory, nulls_in(taken.id), s.is_constant(taken)};
  return true;
}

// Whether a field of that row has other bytes than row 0's.
bool CsvReader::State::differs(uint32_t column, uint32_t row) {
  const uint32_t *begins = ends() + column - 1, *ends_at = ends() + column;
  return csvr_same(rows_at, found.used, begins, ends_at, fields, row, row + 1) == row;
}

void CsvReader::State::find_constants() {
  std::fill_n(constant, fields, false);
  if (found.rows < kLeastConstantRows || found.crlf) return;
  if (until_look-- == 0) {
    until_look = kLookEvery - 1;
    const uint32_t rows = found.rows;
    for (uint32_t column = 0; column < fields; column++)
      candidate[column] = !differs(column, rows / 3) && !differs(column, 2 * rows / 3) && !differs(column, rows - 1);
  }
  for (uint32_t first = 0; first < fields; first++) {
    uint32_t last = first;
    while (last < fields && candidate[last]) last++;
    if (last - first >= kLeastConstantColumns) check_run(first, last, 1);
    first = last;
  }
}

// Columns first .. last - 1, which are the same in all rows before `row`.
void CsvReader::State::check_run(uint32_t first, uint32_t last, uint32_t row) {
  row = csvr_same(rows_at, found.used, ends() + first - 1, ends() + last - 1, fields, row, found.rows);
  if (row == found.rows) {
    std::fill_n(constant + first, last - first, true);
    return;
  }
  for (uint32_t column = first; column < last; column++) {
    const uint32_t run = column;
    while (column < last && (candidate[column] = !differs(column, row))) column++;
    if (column - run >= kLeastConstantColumns) check_run(run, column, row);
  }
}

void CsvReader::State::mark_bad(const uint64_t *rows, uint32_t column, const char *why) {
  for (uint32_t word = 0; word < kWords; word++) {
    if (rows[word] == 0) continue;
    const uint32_t row = word * 64 + static_cast<uint32_t>(__builtin_ctzll(rows[word]));
    if (row < bad_row) {
      bad_row = row;
      bad_column = column;
      bad_why = why;
    }
    return;
  }
}

// Where the fields of a column begin and end, as csvr_numbers wants it.
void CsvReader::State::columns_of(int32_t column, const uint32_t **begins, const uint32_t **ends_at, uint32_t *step) {
  *begins = ends() + column - 1;
  *ends_at = ends() + column;
  *step = fields;
  if (!found.crlf || column + 1 != static_cast<int32_t>(fields)) return;
  // A CR in front of the line feed is no part of the last field.
  for (uint32_t row = 0; row < found.rows; row++) {
    const uint32_t begin = (*begins)[row * fields], end = (*ends_at)[row * fields];
    begins_copy[row] = begin;
    ends_copy[row] = end > begin + 1 && rows_at[end - 1] == '\r' ? end - 1 : end;
  }
  *begins = begins_copy;
  *ends_at = ends_copy;
  *step = 1;
}

void CsvReader::State::read_numbers(const Taken &taken) {
  if (place[taken.id] < 0) return;
  const uint32_t *begins, *ends_at;
  uint32_t step;
  columns_of(place[taken.id], &begins, &ends_at, &step);
  int64_t *numbers_at = values + taken.memory;
  uint64_t *null_words = nulls_of(taken.id), wrong[kWords] = {0};
  std::fill_n(null_words, kWords, 0);
  const bool once = constant[place[taken.id]];
  const bool marked_any =
      csvr_numbers(rows_at, before, begins, ends_at, step, once ? 1 : found.rows, numbers_at, null_words, wrong);
  if (once) {
    std::fill_n(numbers_at, found.rows, numbers_at[0]);
    if (null_words[0] != 0) std::fill_n(null_words, kWords, ~0ull);
  }
  if (marked_any) {
    mark_bad(wrong, taken.id, "not a whole number of 64 bits");
    if (taken.key) mark_bad(null_words, taken.id, "empty, and it is a key");
  }
  if (taken.type == COL_INT8) return;
  const uint32_t rows = once ? 1 : found.rows;
  // What is not negative and has few bits is within: the usual case takes one pass without a comparison.
  uint64_t bits = 0;
  for (uint32_t row = 0; row < rows; row++) bits |= static_cast<uint64_t>(numbers_at[row]);
  if (bits <= static_cast<uint64_t>(taken.most)) return;
  const uint64_t least = static_cast<uint64_t>(taken.least), spread = static_cast<uint64_t>(taken.most) - least;
  for (uint32_t row = 0; row < rows; row++)
    if (static_cast<uint64_t>(numbers_at[row]) - least > spread) wrong[row >> 6] |= 1ull << (row & 63);
  mark_bad(wrong, taken.id, "out of its type's range");
}

void CsvReader::State::read_key_texts(const Taken &taken) {
  const uint32_t *begins, *ends_at;
  uint32_t step;
  columns_of(place[taken.id], &begins, &ends_at, &step);
  uint64_t empty[kWords] = {0};
  for (uint32_t row = 0; row < found.rows; row++)
    if (begins[row * step] + 1 == ends_at[row * step]) empty[row >> 6] |= 1ull << (row & 63);
  mark_bad(empty, taken.id, "empty, and it is a key");
}

void CsvReader::State::read_texts(const Taken &taken, uint32_t rows) {
  if (place[taken.id] < 0) return;
  const uint32_t *begins, *ends_at;
  uint32_t step;
  columns_of(place[taken.id], &begins, &ends_at, &step);
  CsvText *texts_at = spans + taken.memory;
  uint64_t *null_words = nulls_of(taken.id);
  std::fill_n(null_words, kWords, 0);
  // Where texts have to be converted each row counts its own.
  const bool once = constant[place[taken.id]] && found.plain;
  uint32_t longest = 0;
  for (uint32_t row = 0; row < (once ? 1 : rows); row++, begins += step, ends_at += step) {
    const uint8_t *p = rows_at + (*begins + 1u);
    uint32_t n = *ends_at - (*begins + 1u);
    if (n == 0) {
      null_words[row >> 6] |= 1ull << (row & 63);
    } else if (*p == '"') {
      p++;
      n -= 2;
      if (found.doubled && std::memchr(p, '"', n) != nullptr) {
        uint8_t *plain = scratch.take(n);
        const uint32_t size = static_cast<uint32_t>(csvr_unquote(p, n, plain));
        scratch.give(n - size);
        p = plain;
        n = size;
      }
    }
    texts_at[row] = {p, n};
    longest = std::max(longest, n);
  }
  if (once) {
    std::fill_n(texts_at, rows, texts_at[0]);
    if (null_words[0] != 0) std::fill_n(null_words, kWords, ~0ull);
  }
  if (found.plain && longest <= taken.limit) return;
  for (uint32_t row = 0; row < rows; row++) fix_text(taken, row, &texts_at[row]);
}

// The encoding of each row; they hardly ever differ.
void CsvReader::State::read_encodings(uint32_t rows) {
  const uint8_t *last = nullptr;
  uint32_t last_size = 0;
  const enc_encoding *encoding = enc_by_name(nullptr, 0);
  const int32_t column = place[CSV_COL_encoding];
  if (column < 0) {
    std::fill_n(encodings, rows, encoding);
    return;
  }
  const uint32_t *begins, *ends_at;
  uint32_t step;
  columns_of(column, &begins, &ends_at, &step);
  for (uint32_t row = 0; row < rows; row++) {
    const uint8_t *p = rows_at + (begins[row * step] + 1u);
    uint32_t n = ends_at[row * step] - (begins[row * step] + 1u);
    if (n >= 2 && *p == '"') {
      p++;
      n -= 2;
    }
    if (n != last_size || (n != 0 && std::memcmp(p, last, n) != 0)) encoding = enc_by_name(p, n);
    last = p;
    last_size = n;
    encodings[row] = encoding;
  }
}

void CsvReader::State::fix_text(const Taken &taken, uint32_t row, CsvText *text) {
  const uint8_t *p = text->data;
  const size_t n = text->size;
  bool sound = found.plain || col_ascii_prefix(p, n) == n;
  size_t size = std::min<size_t>(n, taken.limit);
  if (!sound && encodings[row]->kind == 0 && col_utf8_prefix(p, n) == n) {
    sound = true;
    size = col_utf8_cut(p, n, taken.limit);
  }
  if (sound) {
    text->size = static_cast<uint32_t>(size);
    if (size == n) return;
    marked = true;
    cut[row]++;
    return;
  }
  const size_t room = std::min<size_t>(4 * n, taken.limit);
  uint8_t *out = scratch.take(room);
  const enc_made made = encodings[row]->kind == 3 ? multibyte.to_utf8(encodings[row], p, n, out, room)
                                                  : enc_to_utf8(encodings[row], p, n, out, room);
  scratch.give(room - made.size);
  *text = {out, static_cast<uint32_t>(made.size)};
  if (!made.escaped && !made.cut) return;
  marked = true;
  escaped[row] += made.escaped != 0;
  cut[row] += made.cut != 0;
}

// Counts, and the rows' flags where they are asked for.
void CsvReader::State::add_marks(uint32_t rows) {
  for (uint32_t row = 0; row < rows; row++) {
    counts.bad_text += escaped[row];
    counts.cut_values += cut[row];
  }
  if (!options.columns[CSV_COL_flags] || place[CSV_COL_flags] < 0) return;
  const auto found_at = std::find_if(numbers.begin(), numbers.end(), [](const Taken &t) { return t.id == CSV_COL_flags; });
  int64_t *flags = values + found_at->memory;
  constant[place[CSV_COL_flags]] = false;
  for (uint32_t row = 0; row < rows; row++) {
    if (escaped[row] != 0) flags[row] |= kCsvFlagEscaped;
    if (cut[row] != 0) flags[row] |= kCsvFlagCut;
    if (escaped[row] != 0 || cut[row] != 0) nulls_of(CSV_COL_flags)[row >> 6] &= ~(1ull << (row & 63));
  }
}

void CsvReader::give_back(uint32_t rows) {
  State &s = *state_;
  if (rows == 0) return;
  for (uint32_t row = s.handed - rows; s.marked && row < s.handed; row++) {
    s.counts.bad_text -= s.escaped[row];
    s.counts.cut_values -= s.cut[row];
  }
  s.handed -= rows;
  s.counts.rows -= rows;
  s.at = static_cast<size_t>(s.row_at[s.handed] - s.from);
}

uint64_t CsvReader::bad_at() const { return state_->bad_at; }
size_t CsvReader::used_bytes() const { return state_->at; }
const CsvCounts &CsvReader::counts() const { return state_->counts; }
const std::vector<std::string> &CsvReader::unknown_columns() const { return state_->header.unknown; }

}  // namespace pem
