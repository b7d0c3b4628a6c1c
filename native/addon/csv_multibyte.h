// Texts of the encodings of several bytes a character -> UTF-8, by the C library's iconv.
//
// In: bytes and an encoding of core/encoding.h of kind 3. Out: as enc_to_utf8, into the caller's memory. Owner: converters that
// were opened, closed with this; one for each encoding. Where the C library has none for an encoding, all but ASCII is escaped.
// Not thread-safe; any one thread may use it.
#pragma once

#include <iconv.h>

#include "../core/encoding.h"

namespace pem {

class MultibyteTexts {
 public:
  MultibyteTexts() = default;
  ~MultibyteTexts();
  MultibyteTexts(const MultibyteTexts &) = delete;
  MultibyteTexts &operator=(const MultibyteTexts &) = delete;

  enc_made to_utf8(const enc_encoding *encoding, const uint8_t *p, size_t n, uint8_t *out, size_t limit);

 private:
  struct Converter {
    const enc_encoding *encoding = nullptr;
    iconv_t handle = nullptr;  // (iconv_t)-1: there is none
  };

  iconv_t handle_of(const enc_encoding *encoding);

  Converter converters_[8];
};

}  // namespace pem
