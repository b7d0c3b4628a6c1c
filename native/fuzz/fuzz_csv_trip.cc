// libFuzzer target: any bytes through the profiler's writer and back through the reader. The first bytes choose the number of
// fields, their lengths and the pieces in which the file is read; each field is written as a text, as a number or as
// unknown, and must come back as it was.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../core/csv_reader.h"
#include "../core/csv_writer.h"

static void require(bool what) {
  if (!what) std::abort();
}

namespace {

enum class Kind { Text, Number, Unknown };

struct Field {
  Kind kind;
  std::string text;
  int64_t number;
};

constexpr uint32_t kRows = 16;

// The fields of `rows` whole rows at p, where `ends` says where they end.
void check(const uint8_t *p, const uint32_t *ends, const std::vector<Field> &fields, size_t first, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const uint32_t begin = ends[static_cast<std::ptrdiff_t>(i) - 1] + 1, size = ends[i] - begin;
    const Field &field = fields[first + i];
    if (field.kind == Kind::Unknown) {
      require(size == 0);
    } else if (field.kind == Kind::Number) {
      int64_t number = 0;
      uint64_t nulls = 0, bad = 0;
      require(csvr_number(p + begin, size, &number) == 1 && number == field.number);
      require(csvr_numbers(p, 0, ends + i - 1, ends + i, 1, 1, &number, &nulls, &bad) == 0 && number == field.number);
    } else {
      require(size != 0);
      std::string text(reinterpret_cast<const char *>(p) + begin, size);
      if (text[0] == '"') {
        std::vector<uint8_t> plain(size);
        text.assign(reinterpret_cast<const char *>(plain.data()), csvr_unquote(p + begin + 1, size - 2, plain.data()));
      }
      require(text == field.text);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4) return 0;
  const uint32_t columns = data[0] % 60 + 1u;
  const size_t longest = data[1] + 1u, step = data[2] + 1u + 16u * (data[3] % 64);
  data += 4;
  size -= 4;

  std::vector<Field> fields;
  while (size > 1 || fields.size() % columns != 0 || fields.empty()) {
    Field field = {Kind::Unknown, {}, 0};
    const uint8_t choice = size != 0 ? *data : 0;
    if (size != 0) data++, size--;
    const size_t n = std::min<size_t>(size, choice / 4 * longest / 64);
    if (choice % 4 == 1 && size >= 8) {
      field.kind = Kind::Number;
      std::memcpy(&field.number, data, 8);
      field.number >>= choice / 4 % 64;
    } else if (choice % 4 >= 2) {
      field.kind = Kind::Text;
      field.text.assign(reinterpret_cast<const char *>(data), n);
    }
    const size_t used = field.kind == Kind::Number ? 8 : field.kind == Kind::Text ? n : 0;
    data += used;
    size -= used;
    fields.push_back(std::move(field));
  }

  std::vector<char> file;
  for (size_t i = 0; i < fields.size(); i++) {
    const Field &field = fields[i];
    const size_t at = file.size();
    file.resize(at + CSVW_TEXT_BYTES(field.text.size()) + CSVW_NUMBER_BYTES + 1);
    char *p = file.data() + at;
    if (field.kind == Kind::Text) p = csvw_text(p, field.text.data(), field.text.size());
    if (field.kind == Kind::Number) p = csvw_i64(p, field.number);
    *p++ = (i + 1) % columns == 0 ? '\n' : ',';
    file.resize(static_cast<size_t>(p - file.data()));
  }

  std::vector<uint32_t> memory(CSVR_PLACES(kRows, columns) + 1);
  uint32_t *ends = memory.data() + 1;
  size_t at = 0, end = 0, first = 0;
  while (at < file.size()) {
    end = std::min(file.size(), end + step);
    // Not a byte longer than the piece, so that the sanitizer sees each step outside.
    uint8_t *piece = static_cast<uint8_t *>(std::malloc(end - at));
    std::memcpy(piece, file.data() + at, end - at);
    for (size_t used = 0;;) {
      csvr_found found;
      csvr_scan(piece + used, end - at - used, columns, kRows, ends, &found);
      require(found.fault == CSVR_FINE && !found.crlf);
      check(piece + used, ends, fields, first, static_cast<size_t>(found.rows) * columns);
      first += static_cast<size_t>(found.rows) * columns;
      used += found.used;
      if (found.rows != 0) continue;
      std::free(piece);
      at += used;
      break;
    }
  }
  require(first == fields.size());
  return 0;
}
