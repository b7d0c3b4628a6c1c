// The envelope of a batch; see batch.h.
#include "batch.h"

#include <cstring>

#include "../core/crc32c.h"

namespace pem {
namespace {

constexpr uint16_t kVersion = 1;

template <typename T>
T get(const uint8_t *p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
void put(uint8_t *p, T v) {
  std::memcpy(p, &v, sizeof v);
}

bool all_zero(const uint8_t *p, size_t n) {
  uint8_t any = 0;
  for (size_t i = 0; i < n; i++) any |= p[i];
  return any == 0;
}

size_t align8(size_t n) { return (n + 7) & ~static_cast<size_t>(7); }

// Of all bytes but its own four.
uint32_t checksum(const uint8_t *p, size_t n) { return crc32c(p + 16, n - 16, crc32c(p, 12, 0)); }

}  // namespace

bool open_batch(const uint8_t *p, size_t n, Envelope *envelope, uint32_t *crc, std::vector<Piece> *blocks,
                CodecError *error) {
  const char *code = "codec_bad_envelope";
  if (n > kMaxBatchBytes) return error->set("codec_limit", "a batch of more than 4 MiB");
  if (n < kEnvelopeBytes + 8) return error->set(code, "a batch shorter than its envelope");
  if (std::memcmp(p, "PEMB", 4) != 0) return error->set(code, "no batch: its first bytes are not PEMB");
  if (get<uint16_t>(p + 4) != kVersion)
    return error->set("codec_version", "batch format " + std::to_string(get<uint16_t>(p + 4)) + ", this reads 1");
  if (get<uint32_t>(p + 16) != n) return error->set(code, "a batch of another length than it says");
  *crc = get<uint32_t>(p + 12);
  if (checksum(p, n) != *crc) return error->set("codec_bad_crc", "the batch's checksum does not fit its bytes");
  const uint32_t count = get<uint16_t>(p + 6);
  if (count == 0 || count > kMaxBlocks) return error->set(code, "a batch has 1 to 4096 blocks");
  if (get<uint32_t>(p + 20) != 0 || get<uint64_t>(p + 56) != 0)
    return error->set(code, "reserved bytes of the envelope are not zero");
  envelope->agent_id = get<uint32_t>(p + 8);
  std::memcpy(envelope->boot, p + 24, 16);
  envelope->seq = get<uint64_t>(p + 40);
  envelope->created_at_us = get<int64_t>(p + 48);
  if (envelope->seq == 0 || envelope->seq > INT64_MAX) return error->set(code, "seq begins with 1 and fits into int8");
  if (envelope->agent_id == 0 || envelope->agent_id > INT32_MAX)
    return error->set(code, "agent id is a positive int4");
  size_t at = kEnvelopeBytes + static_cast<size_t>(count) * 8;
  if (at > n) return error->set(code, "the table of blocks goes past the batch's end");
  blocks->clear();
  blocks->reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    const size_t offset = get<uint32_t>(p + kEnvelopeBytes + 8 * i), length = get<uint32_t>(p + kEnvelopeBytes + 8 * i + 4);
    if (offset % 8 != 0 || offset < at || offset > n || length == 0 || length > n - offset)
      return error->set(code, "block " + std::to_string(i) + " lies outside its place");
    if (!all_zero(p + at, offset - at)) return error->set(code, "bytes between blocks are not zero");
    blocks->push_back({p + offset, length});
    at = offset + length;
  }
  if (n - at >= 8 || !all_zero(p + at, n - at)) return error->set(code, "bytes behind the last block");
  return true;
}

bool write_batch(const Envelope &envelope, const std::vector<Piece> &blocks, Bytes *out, CodecError *error) {
  if (blocks.empty() || blocks.size() > kMaxBlocks)
    return error->set("codec_argument", "a batch has 1 to 4096 blocks, not " + std::to_string(blocks.size()));
  size_t at = kEnvelopeBytes + blocks.size() * 8;
  uint64_t total = at;
  for (const Piece &block : blocks) total = align8(static_cast<size_t>(total)) + block.size;
  if (total > kMaxBatchBytes)
    return error->set("codec_limit", "a batch of " + std::to_string(total) + " bytes, the limit is 4 MiB");
  Bytes batch(static_cast<size_t>(total));
  uint8_t *p = batch.data();
  std::memset(p, 0, at);
  std::memcpy(p, "PEMB", 4);
  put<uint16_t>(p + 4, kVersion);
  put<uint16_t>(p + 6, static_cast<uint16_t>(blocks.size()));
  put<uint32_t>(p + 8, envelope.agent_id);
  put<uint32_t>(p + 16, static_cast<uint32_t>(total));
  std::memcpy(p + 24, envelope.boot, 16);
  put<uint64_t>(p + 40, envelope.seq);
  put<int64_t>(p + 48, envelope.created_at_us);
  for (size_t i = 0; i < blocks.size(); i++) {
    const size_t offset = align8(at);
    std::memset(p + at, 0, offset - at);
    put<uint32_t>(p + kEnvelopeBytes + 8 * i, static_cast<uint32_t>(offset));
    put<uint32_t>(p + kEnvelopeBytes + 8 * i + 4, static_cast<uint32_t>(blocks[i].size));
    std::memcpy(p + offset, blocks[i].data, blocks[i].size);
    at = offset + blocks[i].size;
  }
  put<uint32_t>(p + 12, checksum(p, static_cast<size_t>(total)));
  *out = std::move(batch);
  return true;
}

}  // namespace pem
