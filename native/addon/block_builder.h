// PGCOPY in any pieces -> block.
//
// In: raw bytes of a COPY .. TO STDOUT (FORMAT binary), split anywhere (libpq gives a row at a time). Out: the bytes of
// one Block. Owner: the builder keeps columns and an unfinished row; finish() hands the block over. Full: more than
// max_rows rows or a row of more than 64 MiB is an error, never a cut result (a full block with missing rows would
// remove keys). Stop: drop the builder at any time. Not thread-safe; any one thread may use it.
//
// Values that a block or PostgreSQL could not take back:
//   text that is not UTF-8, or has a NUL, gets U+FFFD and counts in bad_text;
//   text and name longer than max_value_bytes (name: 63) are cut between characters, counted in cut_values;
//   json, jsonb, numeric and text[] longer than that become NULL, counted in cut_values: half of one means nothing;
//   json and jsonb that are no JSON after the repair, or nested too deep, become NULL, counted in bad_text;
//   anything else that is not of its type's form is an error: the sender is no PostgreSQL.
#pragma once

#include "block_types.h"
#include "memory.h"

namespace pem {

class BlockBuilder {
 public:
  // Columns must have passed check_spec and meta check_meta.
  BlockBuilder(std::vector<ColumnSpec> columns, BlockMeta meta, BlockLimits limits);

  // The next bytes of the stream. False: error() says why, and the builder is of no more use.
  bool feed(const uint8_t *data, size_t n);
  // True once the stream's trailer has been read.
  bool complete() const { return state_ == State::Done; }
  // The block. False when the stream has not ended or the block is too large.
  bool finish(Bytes *block);

  uint32_t rows() const { return rows_; }
  uint32_t cut_values() const { return cut_values_; }
  uint32_t bad_text() const { return bad_text_; }
  const CodecError &error() const { return error_; }
  const BlockMeta &meta() const { return meta_; }
  const std::vector<ColumnSpec> &columns() const { return specs_; }

 private:
  enum class State { Header, Rows, Done };

  struct Column {
    col_type type;
    uint32_t width;
    Buffer fixed, offsets, bytes, nulls;  // nulls stays empty until the first NULL
  };

  bool consume(const uint8_t *p, size_t n, size_t *used);
  size_t fast_rows(const uint8_t *p, size_t n);
  void reserve_for(const uint8_t *p, size_t window, uint32_t count, size_t fed);
  bool fast_column(Column *column, const uint8_t *p, size_t n, uint32_t *pos, uint32_t *shift, uint32_t count);
  bool slow_row(const uint8_t *p);
  bool append_value(Column *column, size_t index, const uint8_t *p, size_t n);
  bool append_text(Column *column, uint32_t row, const uint8_t *p, size_t n);
  void set_null(Column *column, uint32_t row);
  void end_value(Column *column);
  bool bad_value(size_t index, const char *why);

  const std::vector<ColumnSpec> specs_;
  const BlockMeta meta_;
  const BlockLimits limits_;
  std::vector<Column> columns_;
  std::vector<uint8_t> pending_;  // an unfinished header or row
  std::vector<uint8_t> scratch_;
  State state_ = State::Header;
  uint32_t rows_ = 0;
  uint32_t row_ = 0;  // the row being built: what the functions above mean by "now"
  uint32_t cut_values_ = 0;
  uint32_t bad_text_ = 0;
  uint32_t slow_rows_ = 0;    // rows left to read singly before the fast way is tried again
  uint32_t slow_penalty_ = 0; // how many that will be next time
  CodecError error_;
};

}  // namespace pem
