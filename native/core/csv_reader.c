/*
 * CSV of trace files; see csv_reader.h.
 *
 * Rows are found 64 bytes at a time: bit masks of quotes, separators and line ends, and the quotes' running parity says
 * which separators count. Processors with vectors of 64 bytes and a compression of bytes (AVX-512 VBMI2) take half the time
 * of SSE4.1 for that and get a loop of their own; AVX2 alone took 3 % off the whole and is not worth one. Whatever is not
 * as it should be (a stray quote, a row of another number of fields) is left to the loop that goes byte by byte, which alone
 * says what is wrong.
 */
#include "csv_reader.h"

#include <string.h>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

const char *csvr_fault_text(csvr_fault fault) {
  switch (fault) {
    case CSVR_QUOTE_INSIDE:
      return "a quote inside a field that is not quoted";
    case CSVR_BEHIND_QUOTE:
      return "a closing quote that neither a comma nor the line's end follows";
    case CSVR_LONE_CR:
      return "a carriage return outside quotes that no line feed follows";
    case CSVR_FEW_FIELDS:
      return "fewer fields than the header";
    case CSVR_MANY_FIELDS:
      return "more fields than the header";
    default:
      return "nothing";
  }
}

/* The end of the field at *at, which is the place of its comma or LF. 0: not within n, or *fault (*at: where). */
static int field_end(const uint8_t *p, size_t n, size_t *at, csvr_fault *fault, int *doubled, int *crlf) {
  size_t i = *at;
  if (i < n && p[i] == '"') {
    for (i++;;) {
      const uint8_t *quote = memchr(p + i, '"', n - i);
      if (quote == NULL) return 0;
      i = (size_t)(quote - p) + 1;
      if (i == n) return 0;
      if (p[i] != '"') break;
      *doubled = 1;
      i++;
    }
    if (p[i] != ',' && p[i] != '\n' && p[i] != '\r') {
      *at = i;
      *fault = CSVR_BEHIND_QUOTE;
      return 0;
    }
  } else {
    while (i < n && p[i] != ',' && p[i] != '\n' && p[i] != '\r' && p[i] != '"') i++;
    if (i == n) return 0;
    if (p[i] == '"') {
      *at = i;
      *fault = CSVR_QUOTE_INSIDE;
      return 0;
    }
  }
  if (p[i] == '\r') {
    if (++i == n) return 0;
    if (p[i] != '\n') {
      *at = i;
      *fault = CSVR_LONE_CR;
      return 0;
    }
    *crlf = 1;
  }
  *at = i;
  return 1;
}

/* Goes on from found->rows and found->used, byte by byte. */
static void scan_on(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  while (found->rows < max_rows) {
    size_t at = found->used;
    uint32_t *row = ends + (size_t)found->rows * fields;
    for (uint32_t field = 1;; field++, at++) {
      if (!field_end(p, n, &at, &found->fault, &found->doubled, &found->crlf)) {
        if (found->fault != CSVR_FINE) found->fault_at = at;
        return;
      }
      const int last = p[at] == '\n';
      if (last != (field == fields)) {
        found->fault = last ? CSVR_FEW_FIELDS : CSVR_MANY_FIELDS;
        found->fault_at = at;
        return;
      }
      row[field - 1] = (uint32_t)at;
      if (last) break;
    }
    found->rows++;
    found->used = at + 1;
  }
}

static size_t begin_scan(size_t n, uint32_t *ends, csvr_found *found) {
  memset(found, 0, sizeof *found);
  ends[-1] = UINT32_MAX;
  return n < CSVR_MAX_BYTES ? n : CSVR_MAX_BYTES;
}

void csvr_scan_bytes(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  n = begin_scan(n, ends, found);
  scan_on(p, n, fields, max_rows, ends, found);
  found->plain = 1;
  for (size_t i = 0; i < found->used; i++)
    if (p[i] == 0 || p[i] > 0x7f) found->plain = 0;
}

#if defined(__SSE4_1__)

/* 64 bytes: a bit for each. */
typedef struct masks {
  uint64_t quotes, separators, feeds, returns;
  int plain;
} masks;

static inline masks masks_of(const uint8_t *p) {
  const __m128i quote = _mm_set1_epi8('"'), comma = _mm_set1_epi8(','), feed = _mm_set1_epi8('\n'),
                back = _mm_set1_epi8('\r');
  masks m = {0, 0, 0, 0, 0};
  __m128i returns[4], some = _mm_setzero_si128(), high = some, low = _mm_set1_epi8(-1);
  for (int k = 0; k < 4; k++) {
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * k));
    const __m128i feeds = _mm_cmpeq_epi8(v, feed);
    m.quotes |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quote)) << (16 * k);
    m.feeds |= (uint64_t)(uint32_t)_mm_movemask_epi8(feeds) << (16 * k);
    m.separators |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, comma), feeds)) << (16 * k);
    returns[k] = _mm_cmpeq_epi8(v, back);
    some = _mm_or_si128(some, returns[k]);
    high = _mm_or_si128(high, v);
    low = _mm_min_epu8(low, v);
  }
  if (_mm_movemask_epi8(some) != 0)
    for (int k = 0; k < 4; k++) m.returns |= (uint64_t)(uint32_t)_mm_movemask_epi8(returns[k]) << (16 * k);
  m.plain = _mm_movemask_epi8(_mm_or_si128(high, _mm_cmpeq_epi8(low, _mm_setzero_si128()))) == 0;
  return m;
}

/* The places of the set bits of a byte, a byte for each, from the lowest one on. */
static const uint64_t bit_places[256] = {
    0x0, 0x0, 0x1, 0x100, 0x2, 0x200, 0x201, 0x20100, 0x3, 0x300, 0x301, 0x30100, 0x302, 0x30200, 0x30201, 0x3020100,
    0x4, 0x400, 0x401, 0x40100, 0x402, 0x40200, 0x40201, 0x4020100, 0x403, 0x40300, 0x40301, 0x4030100, 0x40302,
    0x4030200, 0x4030201, 0x403020100, 0x5, 0x500, 0x501, 0x50100, 0x502, 0x50200, 0x50201, 0x5020100, 0x503, 0x50300,
    0x50301, 0x5030100, 0x50302, 0x5030200, 0x5030201, 0x503020100, 0x504, 0x50400, 0x50401, 0x5040100, 0x50402,
    0x5040200, 0x5040201, 0x504020100, 0x50403, 0x5040300, 0x5040301, 0x504030100, 0x5040302, 0x504030200,
    0x504030201, 0x50403020100, 0x6, 0x600, 0x601, 0x60100, 0x602, 0x60200, 0x60201, 0x6020100, 0x603, 0x60300,
    0x60301, 0x6030100, 0x60302, 0x6030200, 0x6030201, 0x603020100, 0x604, 0x60400, 0x60401, 0x6040100, 0x60402,
    0x6040200, 0x6040201, 0x604020100, 0x60403, 0x6040300, 0x6040301, 0x604030100, 0x6040302, 0x604030200,
    0x604030201, 0x60403020100, 0x605, 0x60500, 0x60501, 0x6050100, 0x60502, 0x6050200, 0x6050201, 0x605020100,
    0x60503, 0x6050300, 0x6050301, 0x605030100, 0x6050302, 0x605030200, 0x605030201, 0x60503020100, 0x60504,
    0x6050400, 0x6050401, 0x605040100, 0x6050402, 0x605040200, 0x605040201, 0x60504020100, 0x6050403, 0x605040300,
    0x605040301, 0x60504030100, 0x605040302, 0x60504030200, 0x60504030201, 0x6050403020100, 0x7, 0x700, 0x701,
    0x70100, 0x702, 0x70200, 0x70201, 0x7020100, 0x703, 0x70300, 0x70301, 0x7030100, 0x70302, 0x7030200, 0x7030201,
    0x703020100, 0x704, 0x70400, 0x70401, 0x7040100, 0x70402, 0x7040200, 0x7040201, 0x704020100, 0x70403, 0x7040300,
    0x7040301, 0x704030100, 0x7040302, 0x704030200, 0x704030201, 0x70403020100, 0x705, 0x70500, 0x70501, 0x7050100,
    0x70502, 0x7050200, 0x7050201, 0x705020100, 0x70503, 0x7050300, 0x7050301, 0x705030100, 0x7050302, 0x705030200,
    0x705030201, 0x70503020100, 0x70504, 0x7050400, 0x7050401, 0x705040100, 0x7050402, 0x705040200, 0x705040201,
    0x70504020100, 0x7050403, 0x705040300, 0x705040301, 0x70504030100, 0x705040302, 0x70504030200, 0x70504030201,
    0x7050403020100, 0x706, 0x70600, 0x70601, 0x7060100, 0x70602, 0x7060200, 0x7060201, 0x706020100, 0x70603,
    0x7060300, 0x7060301, 0x706030100, 0x7060302, 0x706030200, 0x706030201, 0x70603020100, 0x70604, 0x7060400,
    0x7060401, 0x706040100, 0x7060402, 0x706040200, 0x706040201, 0x70604020100, 0x7060403, 0x706040300, 0x706040301,
    0x70604030100, 0x706040302, 0x70604030200, 0x70604030201, 0x7060403020100, 0x70605, 0x7060500, 0x7060501,
    0x706050100, 0x7060502, 0x706050200, 0x706050201, 0x70605020100, 0x7060503, 0x706050300, 0x706050301,
    0x70605030100, 0x706050302, 0x70605030200, 0x70605030201, 0x7060503020100, 0x7060504, 0x706050400, 0x706050401,
    0x70605040100, 0x706050402, 0x70605040200, 0x70605040201, 0x7060504020100, 0x706050403, 0x70605040300,
    0x70605040301, 0x7060504030100, 0x70605040302, 0x7060504030200, 0x7060504030201, 0x706050403020100,
};

/*
 * Writes base + the place of each set bit, and up to eight words behind them that mean nothing. Eight bits at a time without
 * a branch: how many separators 64 bytes hold cannot be guessed, and a wrong guess costs as much as all of this.
 */
static inline void put_places(uint64_t bits, uint32_t base, uint32_t *to) {
  __m128i add = _mm_set1_epi32((int)base);
  for (int k = 0; k < 8; k++, bits >>= 8) {
    const __m128i places = _mm_cvtsi64_si128((int64_t)bit_places[bits & 0xff]);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_add_epi32(add, _mm_cvtepu8_epi32(places)));
    _mm_storeu_si128((__m128i *)(void *)(to + 4), _mm_add_epi32(add, _mm_cvtepu8_epi32(_mm_srli_si128(places, 4))));
    to += __builtin_popcountll(bits & 0xff);
    add = _mm_add_epi32(add, _mm_set1_epi32(8));
  }
}

#define SCAN_BLOCKS scan_blocks_128
#define SCAN_TARGET
#define SCAN_MASKS masks_of
#define SCAN_PLACES put_places
#include "csv_scan.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_512
#define TARGET_512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi,bmi2,lzcnt,popcnt")))

TARGET_512 static inline masks masks_of_512(const uint8_t *p) {
  const __m512i v = _mm512_loadu_si512(p);
  masks m;
  m.quotes = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"'));
  m.feeds = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\n'));
  m.separators = m.feeds | _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(','));
  m.returns = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\r'));
  m.plain = (_mm512_movepi8_mask(v) | _mm512_testn_epi8_mask(v, v)) == 0;
  return m;
}

/* The same, with up to 32 words that mean nothing. */
TARGET_512 static inline void put_places_512(uint64_t bits, uint32_t base, uint32_t *to) {
  static const uint8_t ascending[64] __attribute__((aligned(64))) = {
      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
      32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  const __m512i add = _mm512_set1_epi32((int)base);
  const __m512i places = _mm512_maskz_compress_epi8(bits, _mm512_load_si512(ascending));
  _mm512_storeu_si512(to, _mm512_add_epi32(add, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places))));
  _mm512_storeu_si512(to + 16, _mm512_add_epi32(add, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 1))));
  if (__builtin_popcountll(bits) <= 32) return;
  _mm512_storeu_si512(to + 32, _mm512_add_epi32(add, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 2))));
  _mm512_storeu_si512(to + 48, _mm512_add_epi32(add, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 3))));
}

#define SCAN_BLOCKS scan_blocks_512
#define SCAN_TARGET TARGET_512
#define SCAN_MASKS masks_of_512
#define SCAN_PLACES put_places_512
#include "csv_scan.h"
#endif

static int has_512(void) {
#if defined(HAVE_512)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2");
#else
  return 0;
#endif
}

static void scan_with(int wide, const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends,
                      csvr_found *found) {
  n = begin_scan(n, ends, found);
#if defined(HAVE_512)
  if (wide) {
    scan_blocks_512(p, n, fields, max_rows, ends, found);
  } else {
    scan_blocks_128(p, n, fields, max_rows, ends, found);
  }
#else
  (void)wide;
  scan_blocks_128(p, n, fields, max_rows, ends, found);
#endif
  if (found->rows == max_rows) return;
  /* The row behind: not whole, or not sound. What it has of other than plain bytes is not known here. */
  const uint32_t rows = found->rows;
  scan_on(p, n, fields, max_rows, ends, found);
  if (found->rows != rows) found->plain = 0;
}

void csvr_scan(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  scan_with(has_512(), p, n, fields, max_rows, ends, found);
}

void csvr_scan_128(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  scan_with(0, p, n, fields, max_rows, ends, found);
}

#else

void csvr_scan(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  csvr_scan_bytes(p, n, fields, max_rows, ends, found);
}

void csvr_scan_128(const uint8_t *p, size_t n, uint32_t fields, uint32_t max_rows, uint32_t *ends, csvr_found *found) {
  csvr_scan_bytes(p, n, fields, max_rows, ends, found);
}

#endif

int csvr_field_end(const uint8_t *p, size_t n, size_t *at, csvr_fault *fault) {
  int doubled = 0, crlf = 0;
  *fault = CSVR_FINE;
  return field_end(p, n, at, fault, &doubled, &crlf);
}

size_t csvr_row_end(const uint8_t *p, size_t n, csvr_fault *fault, size_t *fault_at) {
  size_t at = 0;
  while (csvr_field_end(p, n, &at, fault)) {
    if (p[at] == '\n') return at + 1;
    at++;
  }
  *fault_at = at;
  return 0;
}

int csvr_number(const uint8_t *p, size_t n, int64_t *value) {
  *value = 0;
  if (n >= 2 && p[0] == '"' && p[n - 1] == '"') {
    p++;
    n -= 2;
  }
  if (n == 0) return 0;
  const int negative = p[0] == '-';
  size_t i = (size_t)negative;
  if (n == i || n - i > 19) return -1;
  uint64_t sum = 0;
  for (; i < n; i++) {
    const uint32_t digit = (uint32_t)p[i] - '0';
    if (digit > 9) return -1;
    sum = sum * 10 + digit;
  }
  if (sum > (uint64_t)INT64_MAX + (uint64_t)negative) return -1;
  *value = (int64_t)(negative ? 0 - sum : sum);
  return 1;
}

/* Field i of a column by csvr_number; 1 when it is none or empty. */
static inline int number_at(const uint8_t *p, uint32_t begin, uint32_t end, uint32_t i, int64_t *values, uint64_t *nulls,
                            uint64_t *bad) {
  const int known = csvr_number(p + begin, end - begin, &values[i]);
  if (known > 0) return 0;
  (known == 0 ? nulls : bad)[i >> 6] |= 1ull << (i & 63);
  return 1;
}

int csvr_numbers_single(const uint8_t *p, const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t rows,
                        int64_t *values, uint64_t *nulls, uint64_t *bad) {
  int marked = 0;
  for (uint32_t i = 0; i < rows; i++, begins += step, ends += step)
    marked |= number_at(p, *begins + 1, *ends, i, values, nulls, bad);
  return marked;
}

#if defined(__SSE4_1__)

/* keep + n: of 16 bytes that begin there the last n are ones. */
static const uint8_t keep[32] __attribute__((aligned(32))) = {
    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* The number of the up to 16 digits that end at p, where 16 bytes may be read; *wrong gets a bit for what is no digit. */
static inline uint64_t sixteen_digits(const uint8_t *p, uint32_t digits, __m128i *wrong) {
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p - 16));
  v = _mm_sub_epi8(v, _mm_set1_epi8('0'));
  v = _mm_and_si128(v, _mm_loadu_si128((const __m128i *)(const void *)(keep + digits)));
  *wrong = _mm_or_si128(*wrong, _mm_subs_epu8(v, _mm_set1_epi8(9)));
  v = _mm_maddubs_epi16(v, _mm_set1_epi16(0x010a));
  v = _mm_madd_epi16(v, _mm_set1_epi32(0x00010064));
  v = _mm_packus_epi32(v, v);
  v = _mm_madd_epi16(v, _mm_set1_epi32(0x00012710));
  const uint64_t both = (uint64_t)_mm_cvtsi128_si64(v);
  return (both & 0xffffffffu) * 100000000u + (both >> 32);
}

/* A number of 17 to 20 bytes that end at p, where 32 may be read; *wrong gets a bit for what is none. */
static inline int64_t long_number(const uint8_t *p, uint32_t size, __m128i *wrong) {
  const uint32_t negative = *(p - size) == '-', digits = size - negative;
  __m128i more = _mm_setzero_si128();
  const uint64_t low = sixteen_digits(p, 16, wrong);
  const uint64_t high = digits > 16 ? sixteen_digits(p - 16, digits - 16, wrong) : 0;
  const uint64_t sum = high * 10000000000000000u + low;
  if (digits > 19 || sum > (uint64_t)INT64_MAX + negative) more = _mm_set1_epi8(1);
  *wrong = _mm_or_si128(*wrong, more);
  return (int64_t)(negative ? 0 - sum : sum);
}

/* Columns of which every field is one digit, or of which none has anything, are common and quickly read. 0: not such. */
static int one_digit(const uint8_t *p, const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t rows,
                     int64_t *values) {
  uint32_t other = 0;
  for (uint32_t i = 0; i < rows; i++, begins += step, ends += step) {
    const uint32_t digit = (uint32_t)p[*ends - 1] - '0';
    other |= (*ends - *begins) ^ 2;
    other |= digit > 9;
    values[i] = digit;
  }
  return other == 0;
}

static int all_empty(const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t rows, int64_t *values,
                     uint64_t *nulls) {
  uint32_t other = 0;
  for (uint32_t i = 0; i < rows; i++, begins += step, ends += step) other |= (*ends - *begins) ^ 1;
  if (other != 0) return 0;
  memset(values, 0, rows * sizeof *values);
  for (uint32_t i = 0; i < rows; i += 64) nulls[i >> 6] |= rows - i < 64 ? (1ull << (rows - i)) - 1 : ~0ull;
  return 1;
}

int csvr_numbers(const uint8_t *p, size_t before, const uint32_t *begins, const uint32_t *ends, uint32_t step,
                 uint32_t rows, int64_t *values, uint64_t *nulls, uint64_t *bad) {
  if (rows == 0) return 0;
  /* The first and the last field say what is worth trying. An empty field at p has no byte in front of it to look at. */
  const uint32_t head = *ends - *begins, foot = ends[(size_t)(rows - 1) * step] - begins[(size_t)(rows - 1) * step];
  if (head == 2 && foot == 2 && before != 0 && one_digit(p, begins, ends, step, rows, values)) return 0;
  if (head == 1 && foot == 1 && all_empty(begins, ends, step, rows, values, nulls)) return 1;
  __m128i wrong = _mm_setzero_si128();
  int marked = 0;
  for (uint32_t first = 0; first < rows; first += 64) {
    const uint32_t last = rows - first < 64 ? rows : first + 64;
    uint64_t empty = 0; /* its bits are gathered without a branch: what is unknown is so now and then */
    for (uint32_t i = first; i < last; i++) {
      const uint32_t begin = begins[(size_t)i * step] + 1, end = ends[(size_t)i * step], size = end - begin;
      if (size <= 16 && end + before >= 16) {
        values[i] = (int64_t)sixteen_digits(p + end, size, &wrong);
        empty |= (uint64_t)(size == 0) << (i & 63);
      } else if (size <= 20 && end + before >= 32) {
        values[i] = long_number(p + end, size, &wrong);
      } else {
        marked |= number_at(p, begin, end, i, values, nulls, bad);
      }
    }
    nulls[first >> 6] |= empty;
    marked |= empty != 0;
  }
  if (_mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) == 0xffff) return marked;
  /* A sign in front of few digits, quotes or no number at all: one by one. */
  for (uint32_t i = 0; i < rows; i += 64) nulls[i >> 6] = bad[i >> 6] = 0;
  return csvr_numbers_single(p, begins, ends, step, rows, values, nulls, bad);
}

#else

int csvr_numbers(const uint8_t *p, size_t before, const uint32_t *begins, const uint32_t *ends, uint32_t step,
                 uint32_t rows, int64_t *values, uint64_t *nulls, uint64_t *bad) {
  (void)before;
  return csvr_numbers_single(p, begins, ends, step, rows, values, nulls, bad);
}

#endif

uint32_t csvr_same(const uint8_t *p, size_t n, const uint32_t *begins, const uint32_t *ends, uint32_t step, uint32_t from,
                   uint32_t rows) {
  const uint8_t *model = p + (begins[0] + 1u);
  const uint32_t size = ends[0] - (begins[0] + 1u);
  for (uint32_t i = from; i < rows; i++) {
    const uint32_t begin = begins[(size_t)i * step] + 1;
    const uint8_t *row = p + begin;
    if (ends[(size_t)i * step] - begin != size) return i;
#if defined(__SSE4_1__)
    /* The last bytes are compared twice, or bytes behind them masked out: no branch but for the whole. */
    if (size >= 16) {
      __m128i other = _mm_setzero_si128();
      for (uint32_t k = 0;; k = k + 32 <= size ? k + 16 : size - 16) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(row + k)),
                      b = _mm_loadu_si128((const __m128i *)(const void *)(model + k));
        other = _mm_or_si128(other, _mm_xor_si128(a, b));
        if (k == size - 16) break;
      }
      if (!_mm_testz_si128(other, other)) return i;
      continue;
    }
    if ((size_t)begin + 16 <= n) {
      /* The model is in front of the row: 16 of its bytes may be read too. */
      const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)row),
                    b = _mm_loadu_si128((const __m128i *)(const void *)model);
      const uint32_t equal = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
      if ((~equal & ((1u << size) - 1)) != 0) return i;
      continue;
    }
#endif
    (void)n;
    if (memcmp(row, model, size) != 0) return i;
  }
  return rows;
}

size_t csvr_unquote(const uint8_t *p, size_t n, uint8_t *out) {
  size_t size = 0;
  while (n != 0) {
    const uint8_t *quote = memchr(p, '"', n);
    const size_t run = quote == NULL ? n : (size_t)(quote - p) + 1;
    memcpy(out + size, p, run);
    size += run;
    /* The second of two quotes; a single one cannot stand inside a field that csvr_scan found. */
    const size_t skip = quote != NULL && run < n && p[run] == '"' ? run + 1 : run;
    p += skip;
    n -= skip;
  }
  return size;
}
