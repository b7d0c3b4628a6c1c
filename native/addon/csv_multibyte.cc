// See csv_multibyte.h.
#include "csv_multibyte.h"

#include <cerrno>
#include <cstring>

namespace pem {
namespace {

const iconv_t kNone = reinterpret_cast<iconv_t>(-1);

// Bytes that no character of these encodings has, though iconv takes them for control characters, and NUL.
bool is_never(uint8_t byte) { return byte == 0 || (byte >= 0x80 && byte <= 0x9f && byte != 0x8e && byte != 0x8f); }

// One byte that means nothing; false: it does not fit.
bool put_escaped(uint8_t byte, uint8_t *out, size_t limit, enc_made *made) {
  const enc_made one = enc_to_utf8(enc_by_name(reinterpret_cast<const uint8_t *>("MULE_INTERNAL"), 13), &byte, 1,
                                   out + made->size, limit - made->size);
  made->size += one.size;
  made->escaped |= one.escaped;
  made->cut = one.cut;
  return !one.cut;
}

}  // namespace

MultibyteTexts::~MultibyteTexts() {
  for (const Converter &one : converters_)
    if (one.encoding != nullptr && one.handle != kNone) iconv_close(one.handle);
}

iconv_t MultibyteTexts::handle_of(const enc_encoding *encoding) {
  for (Converter &one : converters_) {
    if (one.encoding == encoding) return one.handle;
    if (one.encoding != nullptr) continue;
    one = {encoding, iconv_open("UTF-8", encoding->libc_name)};
    return one.handle;
  }
  return kNone;
}

enc_made MultibyteTexts::to_utf8(const enc_encoding *encoding, const uint8_t *p, size_t n, uint8_t *out, size_t limit) {
  const iconv_t handle = handle_of(encoding);
  if (handle == kNone) return enc_to_utf8(encoding, p, n, out, limit);
  enc_made made = {0, 0, 0};
  iconv(handle, nullptr, nullptr, nullptr, nullptr);
  for (size_t i = 0; i < n && !made.cut;) {
    size_t end = i;
    while (end < n && !is_never(p[end])) end++;
    if (end == i) {
      if (put_escaped(p[i], out, limit, &made)) i++;
      continue;
    }
    char *from = reinterpret_cast<char *>(const_cast<uint8_t *>(p + i)), *to = reinterpret_cast<char *>(out + made.size);
    size_t left = end - i, room = limit - made.size;
    int failure = iconv(handle, &from, &left, &to, &room) == static_cast<size_t>(-1) ? errno : 0;
    // A base character waits for its accent, if one comes.
    if (failure != E2BIG && iconv(handle, nullptr, nullptr, &to, &room) == static_cast<size_t>(-1)) failure = errno;
    made.size = limit - room;
    i = end - left;
    if (failure == E2BIG)
      made.cut = 1;
    else if (failure != 0 && left > 0 && put_escaped(p[i], out, limit, &made))
      i++;
  }
  return made;
}

}  // namespace pem
