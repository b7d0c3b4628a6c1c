// A trace file's bytes -> windows of rows, column by column: what the block writer (csv_block.h) and the aggregate are
// both fed with, so that a byte of CSV is read once and no row ever becomes a JavaScript object.
//
// In: pieces of CSV the caller owns and keeps unchanged while a window of theirs is used. Out: pointers into the piece and
// into memory of the reader, good until the next call of next() or open(). Owner: the reader keeps about 200 kB, and text
// that had to be converted (at most what a window holds). Full: a window has at most kCsvWindowRows rows, a row at most
// kCsvMaxRowBytes. Stop: drop the reader at any time. Not thread-safe; any one thread may use it.
//
//   CsvReader reader(options);
//   if (!reader.open(piece, header, from_bytes, false, &error)) ..
//   for (CsvWindow window; reader.next(kCsvWindowRows, &window, &error) && window.rows != 0;) use(window);
//   if (error) ..            // codec_bad_csv with the offset in the file
//   reader.used_bytes()      // whole rows alone: the next piece begins there
#pragma once

#include <bitset>
#include <memory>
#include <string>
#include <vector>

#include "csv_header.h"

namespace pem {

constexpr uint32_t kCsvWindowRows = 128;  // a multiple of 8
constexpr size_t kCsvMaxRowBytes = 64u << 20;

// What the reader adds to the column flags of a row, beyond the writer's CSV_FLAG_*.
constexpr int64_t kCsvFlagEscaped = 1 << 16;  // bytes of a text that meant nothing in its encoding stand as \xNN
constexpr int64_t kCsvFlagCut = 1 << 17;      // a text was cut at this reader's limit

using CsvColumnSet = std::bitset<CSV_COLUMN_COUNT>;

struct CsvText {
  const uint8_t *data;
  uint32_t size;  // bytes
};

// One column of a window. Exactly one of values and texts is set where the column was asked for (also where the file has
// not got it: then every row is NULL), neither where it was not.
struct CsvWindowColumn {
  const int64_t *values;  // int4, int8, timestamptz (µs since 1970 UTC), xid: checked to be of the type's range; 0: NULL
  const CsvText *texts;   // text, name: UTF-8 without NUL, cut at the options' limits; size 0 where NULL
  const uint8_t *nulls;   // bit (i & 7) of byte i >> 3 set: row i is NULL. nullptr: no NULL in this window
  bool constant;          // true: every row has the value of row 0 (false may be said all the same)
  bool is_null(uint32_t row) const { return nulls != nullptr && ((nulls[row >> 3] >> (row & 7)) & 1) != 0; }
};

struct CsvWindow {
  uint32_t rows;
  CsvWindowColumn columns[CSV_COLUMN_COUNT];  // by CSV_COL_<name>
  const uint64_t *row_at;                     // where each row begins in its file, bytes
  // The rows as they stand in the piece: `used` bytes, of `readable` that may be read. Most texts point in here.
  const uint8_t *bytes;
  size_t used, readable;
};

struct CsvReadOptions {
  CsvColumnSet columns;        // what to read; the rest is neither parsed nor checked
  CsvColumnSet keys;           // of these: NULL or missing makes a row bad
  uint32_t max_text_bytes = kMaxValueBytes;  // longer text (in UTF-8) is cut between characters; names always at 63
  bool skip_bad_rows = false;  // true: bad rows are counted and left out; false: the first one ends the reading
};

// Of all pieces so far.
struct CsvCounts {
  uint64_t rows = 0;
  uint64_t bad_text = 0;    // values with bytes that had to be escaped as \xNN
  uint64_t cut_values = 0;  // values cut at the limits
  uint64_t bad_rows = 0;    // skipped
  CodecError first_bad;     // the first of them, and where in its file the fault lies
  uint64_t first_bad_at = 0;
};

class CsvReader {
 public:
  explicit CsvReader(const CsvReadOptions &options);
  ~CsvReader();
  CsvReader(const CsvReader &) = delete;
  CsvReader &operator=(const CsvReader &) = delete;

  // Begins a piece that starts at byte from_bytes of its file, with a row. header: that file's header line; of size 0: the
  // piece begins with the header line (when that is not whole yet, nothing is read and used_bytes() stays 0). end: the
  // file ends with this piece, so that a last row needs no line end. False: the header is none, codec_bad_csv.
  bool open(const uint8_t *data, size_t size, const uint8_t *header, size_t header_size, uint64_t from_bytes, bool end,
            CodecError *error);

  // The next whole rows, at most max_rows and at most kCsvWindowRows; window->rows 0: there are none left in the piece.
  // False: a bad row, error says which; the rows before it were handed out by earlier calls.
  bool next(uint32_t max_rows, CsvWindow *window, CodecError *error);

  // Takes back the last `rows` rows of the last window: the next call of next() begins with them.
  void give_back(uint32_t rows);

  // Where in the file the fault lies that open() or next() answered false for, bytes.
  uint64_t bad_at() const;

  // Bytes of the piece read so far: header, rows handed out, bad rows skipped.
  size_t used_bytes() const;
  const CsvCounts &counts() const;
  // Columns of the present piece's header that this version does not know, in the file's order.
  const std::vector<std::string> &unknown_columns() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pem
