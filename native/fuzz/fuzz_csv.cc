// libFuzzer target: bytes as a trace file. The first bytes choose columns, keys, limits, what happens to bad rows and how the
// file is cut into pieces. Read whole and in pieces it must give the same rows, counts and faults, and blocks that pass
// verification; what the reader says of a row's place must hold.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../addon/block_verify.h"
#include "../addon/csv_block.h"

using namespace pem;

static void require(bool what) {
  if (!what) std::abort();
}

namespace {

// All rows read, as text, with their marks; and how the reading ended.
struct Outcome {
  std::string rows;
  CsvCounts counts;
  CodecError error;
  uint64_t bad_at = 0;
  size_t used = 0;
};

void add_row(const CsvWindow &window, uint32_t row, std::string *out) {
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) {
    const CsvWindowColumn &column = window.columns[id];
    if (column.is_null(row)) {
      *out += '~';
    } else if (column.values != nullptr) {
      *out += std::to_string(column.values[row]);
    } else if (column.texts != nullptr) {
      require(col_check_variable(kCsvColumns[id].type, column.texts[row].data, column.texts[row].size) == nullptr);
      out->append(reinterpret_cast<const char *>(column.texts[row].data), column.texts[row].size);
    }
    *out += '|';
  }
  *out += std::to_string(window.row_at[row]) + "\n";
}

// A copy that ends with its allocation, so that reading one byte too far is seen.
class Exact {
 public:
  Exact(const uint8_t *p, size_t n) : data_(static_cast<uint8_t *>(std::malloc(n == 0 ? 1 : n))) {
    if (n != 0) std::memcpy(data_, p, n);
  }
  ~Exact() { std::free(data_); }
  Exact(const Exact &) = delete;
  Exact &operator=(const Exact &) = delete;
  const uint8_t *data() const { return data_; }

 private:
  uint8_t *data_;
};

// One reader over pieces that grow by `step` bytes until a row is whole; `most` rows a window, some of them given back.
Outcome read_all(const CsvReadOptions &options, const uint8_t *data, size_t size, size_t step, uint32_t most, bool back) {
  Outcome out;
  CsvReader reader(options);
  size_t at = 0, end = 0;
  std::string header;
  do {
    end = std::min(size, end + step);
    const Exact piece(data + at, end - at);
    const bool open = reader.open(piece.data(), end - at, reinterpret_cast<const uint8_t *>(header.data()), header.size(),
                                  at, end == size, &out.error);
    if (open && header.empty()) header.assign(reinterpret_cast<const char *>(piece.data()), reader.used_bytes());
    CsvWindow window;
    while (open && reader.next(most, &window, &out.error) && window.rows != 0) {
      uint32_t rows = window.rows;
      if (back && rows > 1) reader.give_back(rows - (rows + 1) / 2), rows = (rows + 1) / 2;
      for (uint32_t row = 0; row < rows; row++) add_row(window, row, &out.rows);
    }
    if (out.error) out.bad_at = reader.bad_at();
    if (open) at += reader.used_bytes();
    require(at <= end);
  } while (!out.error && end < size);
  out.used = at;
  out.counts = reader.counts();
  return out;
}

void check_block(const CsvBlockWriter &, const Bytes &block) {
  BlockView view;
  CodecError error;
  require(open_block(block.data(), block.size(), &view, &error));
  require(check_values(view, &error));
}

// The rows in blocks of a few rows or bytes, long texts apart where `texts`.
uint64_t build_all(const CsvReadOptions &read, CsvBlockOptions options, const uint8_t *data, size_t size, bool texts) {
  uint64_t rows = 0;
  std::string header;
  CsvReader reader(read);
  if (texts) options.texts = std::make_shared<TextSet>(8, 5);
  BlockMeta meta;
  meta.probe = "fuzz";
  meta.kind = BlockKind::Append;
  const Exact piece(data, size);
  for (size_t at = 0;;) {
    CodecError error;
    if (!reader.open(piece.data() + at, size - at, reinterpret_cast<const uint8_t *>(header.data()), header.size(), at, true,
                     &error))
      return rows;
    if (header.empty()) header.assign(reinterpret_cast<const char *>(data), reader.used_bytes());
    CsvBlockWriter writer(options);
    CsvWindow window;
    while (!writer.full() && reader.next(kCsvWindowRows, &window, &error) && window.rows != 0) {
      writer.expect(window, size);
      reader.give_back(window.rows - writer.append(window));
    }
    Bytes block;
    CodecError failed;
    std::vector<uint8_t> lent(data[-1] % 2 != 0 ? 4000 : 0);
    require(writer.finish(meta, {lent.data(), lent.size()}, &block, &failed));
    check_block(writer, block);
    require(writer.rows() <= 1 || block.size() <= options.max_bytes);
    if (writer.fresh_texts() != 0) {
      require(texts && writer.finish_texts(meta, &block, &failed));
      check_block(writer, block);
    }
    rows += writer.rows();
    at += reader.used_bytes();
    if (!writer.full()) return rows;
    require(writer.rows() != 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 6) return 0;
  CsvReadOptions options;
  for (uint32_t id = 0; id < CSV_COLUMN_COUNT; id++) options.columns[id] = data[0] == 0 || (id * 7 + data[0]) % 5 < 3;
  if (data[1] % 4 == 0) options.keys.set(data[1] % CSV_COLUMN_COUNT);
  options.skip_bad_rows = data[2] % 2 != 0;
  if (data[2] >= 128) options.max_text_bytes = data[2] - 128u;
  const size_t step = data[3] + 1u;
  const uint32_t most = data[4] % 16 + 1u;
  CsvBlockOptions build;
  build.max_rows = data[5] % 2 != 0 ? data[5] : kMaxRows;
  if (data[5] % 4 == 2) build.max_bytes = 20000u + 64u * data[5];
  data += 6;
  size -= 6;

  const Outcome whole = read_all(options, data, size, size == 0 ? 1 : size, kCsvWindowRows, false);
  const Outcome pieces = read_all(options, data, size, step, most, true);
  require(whole.rows == pieces.rows && whole.used == pieces.used && whole.bad_at == pieces.bad_at);
  require(!whole.error == !pieces.error && whole.counts.rows == pieces.counts.rows);
  require(whole.counts.bad_text == pieces.counts.bad_text && whole.counts.cut_values == pieces.counts.cut_values);
  require(whole.counts.bad_rows == pieces.counts.bad_rows && whole.counts.first_bad_at == pieces.counts.first_bad_at);
  // Skipping, everything is read to the end.
  if (options.skip_bad_rows && !whole.error) require(whole.used == size);

  build.columns = options.columns | options.keys;
  if (build.columns.none()) return 0;
  require(build_all(options, build, data, size, data[-1] % 3 == 0) == whole.counts.rows);

  // Event rows; a column more may make more rows bad.
  CsvReadOptions read = options;
  for (const uint32_t id : {CSV_COL_query, CSV_COL_tag, CSV_COL_flags}) read.columns.set(id);
  read.max_text_bytes = kMaxValueBytes;
  build.event_rows = true;
  build.max_text_bytes = options.max_text_bytes;
  build.columns = read.columns | read.keys;
  const uint64_t rows = build_all(read, build, data, size, data[-1] % 3 == 0);
  require(!options.columns[CSV_COL_flags] || rows == whole.counts.rows);
  return 0;
}
