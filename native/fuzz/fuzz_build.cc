// libFuzzer target: bytes as a PGCOPY stream. The first bytes choose columns, the value limit and how the stream is cut
// into pieces. Whatever the builder makes of it must pass verification; cut or whole, it must make the same of it.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../addon/block_builder.h"
#include "../addon/block_verify.h"

using namespace pem;

static void require(bool what) {
  if (!what) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 3) return 0;
  const size_t count = data[0] % 20 + 1, piece = data[1] + 1u;
  if (size < 3 + count) return 0;
  std::vector<ColumnSpec> columns;
  for (size_t i = 0; i < count; i++)
    columns.push_back({"c" + std::to_string(i), static_cast<col_type>(data[3 + i] % COL_TYPE_MAX + 1)});
  BlockMeta meta;
  meta.probe = "fuzz";
  BlockLimits limits;
  if (data[2] != 0) limits.max_value_bytes = data[2];
  data += 3 + count;
  size -= 3 + count;

  BlockBuilder whole(columns, meta, limits), cut(columns, meta, limits);
  uint8_t *copy = static_cast<uint8_t *>(std::malloc(size == 0 ? 1 : size));
  std::memcpy(copy, data, size);
  Bytes first, second;
  const bool made = whole.feed(copy, size) && whole.finish(&first);
  std::free(copy);
  bool fed = true;
  for (size_t at = 0; fed && at < size; at += piece) fed = cut.feed(data + at, std::min(piece, size - at));
  const bool made_again = fed && cut.finish(&second);
  require(made == made_again);
  if (!made) return 0;
  require(first.size() == second.size() && std::memcmp(first.data(), second.data(), first.size()) == 0);
  BlockView view;
  CodecError error;
  require(open_block(first.data(), first.size(), &view, &error));
  require(check_values(view, &error));
  return 0;
}
