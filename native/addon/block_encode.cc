// Blocks -> PGCOPY; see block_encode.h.
//
// Columns to rows is a transposition: rows are done in windows small enough that their output stays in the first-level
// cache while column after column is written into it. pos[i] is where row i's next field goes; while only fixed columns
// without NULLs have been written since, a common shift stands for all rows.
#include "block_encode.h"

#include <algorithm>
#include <cstring>

#include "../core/pgcopy.h"

namespace pem {
namespace {

constexpr uint32_t kWindow = 64;
constexpr uint64_t kMaxStreamBytes = 1u << 30;
// Short pieces are copied as whole words; the stream keeps that much room behind its end.
constexpr size_t kSlack = kStreamSlack;

// Fields before or behind a block's own, ready to copy: for live rows and for tombstones. kSlack zeros follow them.
struct Extra {
  std::vector<uint8_t> live, gone;
  size_t size;
};

Extra make_extra(const std::vector<ExtraField> &fields, const BlockView &view, size_t block, bool with_count,
                 uint32_t count) {
  Extra extra;
  for (int gone = 0; gone < 2; gone++) {
    std::vector<uint8_t> &out = gone ? extra.gone : extra.live;
    if (with_count) {
      out.resize(2);
      pgc_put16(out.data(), static_cast<uint16_t>(count));
    }
    for (const ExtraField &field : fields) {
      const col_type type = field.kind == ExtraField::Kind::RecordedAt ? COL_TIMESTAMPTZ
                            : field.kind == ExtraField::Kind::Gone     ? COL_BOOL
                                                                       : COL_INT8;
      const int64_t value = field.kind == ExtraField::Kind::RecordedAt ? view.recorded_at_us
                            : field.kind == ExtraField::Kind::Target   ? view.target
                            : field.kind == ExtraField::Kind::Gone     ? gone
                                                                       : field.values[block];
      const size_t at = out.size();
      out.resize(at + 4 + col_width(type));
      col_put_field(type, reinterpret_cast<const uint8_t *>(&value), out.data() + at);
    }
    extra.size = out.size();
    out.resize(extra.size + kSlack);
  }
  return extra;
}

// jsonb has a version byte in PGCOPY that a block leaves out.
uint32_t version_bytes(col_type type) { return type == COL_JSONB ? 1 : 0; }

// What all rows have: extra fields, lengths, fixed values.
uint32_t base_bytes(const BlockView &view, const Extra &prefix, const Extra &suffix) {
  size_t base = prefix.size + suffix.size;
  for (const ColumnView &column : view.columns) base += 4 + column.width + version_bytes(column.type);
  return static_cast<uint32_t>(base);
}

// A NULL is its length alone.
uint32_t least_bytes(const ColumnView &column) {
  return column.nulls != nullptr ? 4 : 4 + column.width + version_bytes(column.type);
}

// What the block's own columns and the suffix have in every row.
uint32_t least_bytes(const BlockView &view, const Extra &suffix) {
  size_t least = suffix.size;
  for (const ColumnView &column : view.columns) least += least_bytes(column);
  return static_cast<uint32_t>(least);
}

uint64_t block_bytes(const BlockView &view, uint32_t rows, uint32_t base) {
  uint64_t total = static_cast<uint64_t>(rows) * base;
  for (const ColumnView &column : view.columns) {
    if (column.width == 0) total += column.offsets[rows];
    if (column.nulls == nullptr) continue;
    const uint32_t fixed = column.width + version_bytes(column.type);
    for (uint32_t row = 0; row < rows; row++)
      if (column.is_null(row))
        total -= fixed + (column.width == 0 ? column.offsets[row + 1] - column.offsets[row] : 0);
  }
  return total;
}

// A window of rows of one block.
struct Window {
  const BlockView *view;
  uint32_t first, count;
  uint8_t *out;
  uint32_t pos[kWindow];
  uint32_t shift;
};

void settle(Window *w) {
  if (w->shift == 0) return;
  for (uint32_t i = 0; i < w->count; i++) w->pos[i] += w->shift;
  w->shift = 0;
}

void put_nullable(Window *w, const ColumnView &column) {
  settle(w);
  for (uint32_t i = 0; i < w->count; i++) {
    const uint32_t row = w->first + i;
    uint8_t *to = w->out + w->pos[i];
    if (column.is_null(row)) {
      pgc_put32(to, 0xffffffffu);
      w->pos[i] += 4;
    } else if (column.width != 0) {
      col_put_field(column.type, column.fixed + static_cast<size_t>(row) * column.width, to);
      w->pos[i] += 4 + column.width;
    } else {
      const uint32_t start = column.offsets[row], length = column.offsets[row + 1] - start;
      const uint32_t skip = version_bytes(column.type);
      pgc_put32(to, length + skip);
      if (skip != 0) to[4] = 1;
      if (length != 0) std::memcpy(to + 4 + skip, column.bytes + start, length);
      w->pos[i] += 4 + skip + length;
    }
  }
}

// tail: bytes that each row has behind this field at least, all of them written later.
void put_variable(Window *w, const ColumnView &column, uint32_t tail) {
  const uint32_t *offsets = column.offsets + w->first;
  const uint32_t skip = version_bytes(column.type);
  const uint8_t *end = w->view->data + w->view->size;
  const bool roomy = tail >= kSlack && static_cast<size_t>(end - (column.bytes + offsets[w->count])) >= kSlack;
  uint8_t *out = w->out + w->shift;
  const uint32_t more = w->shift + 4 + skip;
  for (uint32_t i = 0; i < w->count; i++) {
    uint8_t *to = out + w->pos[i];
    const uint32_t start = offsets[i], length = offsets[i + 1] - start;
    pgc_put32(to, length + skip);
    if (skip != 0) to[4] = 1;
    if (roomy && length <= kSlack)
      std::memcpy(to + 4 + skip, column.bytes + start, kSlack);
    else if (length != 0)
      std::memcpy(to + 4 + skip, column.bytes + start, length);
    w->pos[i] += more + length;
  }
  w->shift = 0;
}

// Where each row of a window begins; answers the window's bytes.
uint32_t place_rows(Window *w, uint32_t base) {
  uint32_t length[kWindow];
  for (uint32_t i = 0; i < w->count; i++) length[i] = base;
  for (const ColumnView &column : w->view->columns) {
    const uint32_t *offsets = column.width == 0 ? column.offsets + w->first : nullptr;
    if (offsets != nullptr)
      for (uint32_t i = 0; i < w->count; i++) length[i] += offsets[i + 1] - offsets[i];
    if (column.nulls == nullptr) continue;
    const uint32_t fixed = column.width + version_bytes(column.type);
    for (uint32_t i = 0; i < w->count; i++)
      if (column.is_null(w->first + i))
        length[i] -= fixed + (offsets != nullptr ? offsets[i + 1] - offsets[i] : 0);
  }
  uint32_t at = 0;
  for (uint32_t i = 0; i < w->count; i++) {
    w->pos[i] = at;
    at += length[i];
  }
  return at;
}

// Copies in words; what is written too far belongs to fields and rows that are written later.
void put_prefix(Window *w, const Extra &prefix, uint32_t live) {
  for (uint32_t i = 0; i < w->count; i++) {
    const uint8_t *from = (w->first + i >= live ? prefix.gone : prefix.live).data();
    uint8_t *to = w->out + w->pos[i];
    std::memcpy(to, from, 8);  // often it is the count of fields alone
    for (size_t k = 8; k < prefix.size; k += 16) std::memcpy(to + k, from + k, 16);
  }
  w->shift = static_cast<uint32_t>(prefix.size);
}

void put_suffix(Window *w, const Extra &suffix, uint32_t live) {
  if (suffix.size == 0) return;
  settle(w);
  for (uint32_t i = 0; i < w->count; i++) {
    const std::vector<uint8_t> &from = w->first + i >= live ? suffix.gone : suffix.live;
    std::memcpy(w->out + w->pos[i], from.data(), suffix.size);
  }
}

void prefetch(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i);
}

// A window reads a kilobyte here and a kilobyte there, too short for the processor to see a stream: while a column of
// one window is done its bytes for the next are asked for, and with it a share of the lines that will be written.
void prefetch_column(const ColumnView &column, uint32_t first, uint32_t rows) {
  const uint32_t count = std::min(kWindow, rows - first);
  if (column.width != 0) {
    prefetch(column.fixed + static_cast<size_t>(first) * column.width, static_cast<size_t>(count) * column.width);
    return;
  }
  prefetch(reinterpret_cast<const uint8_t *>(column.offsets + first), count * 4);
  const uint32_t start = column.offsets[first];
  prefetch(column.bytes + start, std::min<size_t>(column.offsets[first + count] - start, 8192));
}

// Four columns of plain 8-byte values without NULLs, from this one on.
bool four_words(const std::vector<ColumnView> &columns, size_t first) {
  if (columns.size() - first < 4) return false;
  for (size_t i = first; i < first + 4; i++)
    if (columns[i].width != 8 || columns[i].type == COL_TIMESTAMPTZ || columns[i].nulls != nullptr) return false;
  return true;
}

uint8_t *encode_rows(const BlockView &view, uint32_t rows, uint32_t base, const Extra &prefix, const Extra &suffix,
                     uint8_t *out) {
  const uint32_t live = view.rows - view.tombstones;
  Window w;
  w.view = &view;
  for (w.first = 0; w.first < rows; w.first += w.count) {
    w.count = std::min(kWindow, rows - w.first);
    w.out = out;
    const uint32_t bytes = place_rows(&w, base);
    out += bytes;
    const uint32_t next = w.first + w.count;
    const bool ahead = next < rows;
    const uint32_t share = ahead ? std::min(bytes, 65536u) / static_cast<uint32_t>(view.columns.size()) + 1 : 0;
    uint8_t *line = out;
    put_prefix(&w, prefix, live);
    uint32_t tail = least_bytes(view, suffix);
    for (size_t i = 0; i < view.columns.size(); i++) {
      const ColumnView &column = view.columns[i];
      if (ahead) {
        const size_t many = four_words(view.columns, i) ? 4 : 1;
        for (size_t k = i; k < i + many; k++) prefetch_column(view.columns[k], next, rows);
        prefetch(line, share * many);
        line += share * many;
      }
      if (four_words(view.columns, i)) {
        const uint8_t *fixed[4];
        for (size_t k = 0; k < 4; k++) fixed[k] = view.columns[i + k].fixed + static_cast<size_t>(w.first) * 8;
        tail -= 4 * 12;
        col_scatter_four(fixed, w.out, w.pos, w.shift, w.count, tail);
        w.shift += 4 * 12;
        i += 3;
        continue;
      }
      tail -= least_bytes(column);
      if (column.nulls != nullptr) {
        put_nullable(&w, column);
      } else if (column.width != 0) {
        col_scatter(column.type, column.fixed + static_cast<size_t>(w.first) * column.width, w.out, w.pos, w.shift,
                    w.count, tail);
        w.shift += 4 + column.width;
      } else {
        put_variable(&w, column, tail);
      }
    }
    put_suffix(&w, suffix, live);
  }
  return out;
}

bool check_columns(const BlockView &view, size_t block, const std::vector<ColumnSpec> &columns, CodecError *error) {
  bool same = view.columns.size() == columns.size();
  for (size_t i = 0; same && i < columns.size(); i++)
    same = view.columns[i].type == columns[i].type && view.columns[i].name == columns[i].name;
  if (same) return true;
  return error->set("codec_columns", "block " + std::to_string(block) + " of probe \"" + std::string(view.probe) +
                                         "\" has other columns than asked for");
}

}  // namespace

bool encode_blocks(const std::vector<BlockView> &blocks, const EncodeRequest &request, Bytes *out, size_t *size,
                   CodecError *error) {
  const uint32_t fields = static_cast<uint32_t>(request.prefix.size() + request.columns.size() + request.suffix.size());
  if (request.prefix.size() > 32 || request.suffix.size() > 32)
    return error->set("codec_argument", "more than 32 leading or trailing columns");
  uint64_t total = (request.header ? PGC_HEADER_BYTES : 0) + (request.trailer ? PGC_TRAILER_BYTES : 0);
  std::vector<Extra> prefixes, suffixes;
  prefixes.reserve(blocks.size());
  suffixes.reserve(blocks.size());
  for (size_t b = 0; b < blocks.size(); b++) {
    const BlockView &view = blocks[b];
    if (!check_columns(view, b, request.columns, error)) return false;
    prefixes.push_back(make_extra(request.prefix, view, b, true, fields));
    suffixes.push_back(make_extra(request.suffix, view, b, false, 0));
    const uint32_t rows = request.tombstones ? view.rows : view.rows - view.tombstones;
    total += block_bytes(view, rows, base_bytes(view, prefixes[b], suffixes[b]));
    if (total > kMaxStreamBytes) return error->set("codec_limit", "a stream of more than 1 GiB");
  }
  *size = static_cast<size_t>(total);
  Bytes stream(*size + kSlack);
  uint8_t *at = stream.data();
  if (request.header) {
    pgc_write_header(at);
    at += PGC_HEADER_BYTES;
  }
  for (size_t b = 0; b < blocks.size(); b++) {
    const BlockView &view = blocks[b];
    const uint32_t rows = request.tombstones ? view.rows : view.rows - view.tombstones;
    at = encode_rows(view, rows, base_bytes(view, prefixes[b], suffixes[b]), prefixes[b], suffixes[b], at);
  }
  if (request.trailer) pgc_put16(at, 0xffff);
  *out = std::move(stream);
  return true;
}

}  // namespace pem
