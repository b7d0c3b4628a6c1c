/* Column types; see columns.h. */
#include "columns.h"

#include <string.h>

#include "json.h"
#include "pgcopy.h"
#include "utf8.h"

#ifdef __SSSE3__
#include <tmmintrin.h>
#endif

static const char *const names[COL_TYPE_MAX + 1] = {
    NULL,   "bool", "int2", "int4",   "int8", "float4",      "float8",   "numeric", "text",  "name",
    "oid",  "xid",  "pg_lsn", "inet", "timestamptz", "interval", "json",    "jsonb", "text[]"};

const char *col_type_name(unsigned type) { return type <= COL_TYPE_MAX ? names[type] : NULL; }

unsigned col_type_by_name(const char *name, size_t n) {
  for (unsigned type = COL_TYPE_MIN; type <= COL_TYPE_MAX; type++)
    if (strlen(names[type]) == n && memcmp(names[type], name, n) == 0) return type;
  return 0;
}

static inline int64_t load_i64(const uint8_t *p) {
  int64_t v;
  memcpy(&v, p, 8);
  return v;
}

static inline uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

static inline int is_infinite(int64_t t) { return t == INT64_MIN || t == INT64_MAX; }

static inline int time_in_range(int64_t t) {
  return is_infinite(t) || (t >= COL_TIME_MIN_US && t <= COL_TIME_MAX_US);
}

static inline int64_t time_to_pg(int64_t t) {
  return is_infinite(t) ? t : (int64_t)((uint64_t)t - (uint64_t)COL_EPOCH_US);
}

/* Finite times that do not fit into µs since 1970 come out as an infinity's number or wrapped: callers check first. */
static inline int64_t time_from_pg(int64_t t) {
  return is_infinite(t) ? t : (int64_t)((uint64_t)t + (uint64_t)COL_EPOCH_US);
}

static inline int pg_time_in_range(int64_t t) {
  return is_infinite(t) || (t >= COL_TIME_MIN_US - COL_EPOCH_US && t <= COL_TIME_MAX_US - COL_EPOCH_US);
}

static inline void interval_swap(const uint8_t *in, uint8_t *out) {
  pgc_put64(out, (uint64_t)load_i64(in));
  uint32_t days = pgc_get32(in + 8), months = pgc_get32(in + 12);
  memcpy(out + 8, &days, 4);
  memcpy(out + 12, &months, 4);
}

const char *col_fixed_from_pg(col_type type, const uint8_t *p, uint8_t *out) {
  switch (col_width(type)) {
    case 1:
      out[0] = p[0] != 0;
      return NULL;
    case 2: {
      uint16_t v = pgc_get16(p);
      memcpy(out, &v, 2);
      return NULL;
    }
    case 4: {
      uint32_t v = pgc_get32(p);
      memcpy(out, &v, 4);
      return NULL;
    }
    case 8: {
      int64_t v = (int64_t)pgc_get64(p);
      if (type == COL_TIMESTAMPTZ) {
        if (!pg_time_in_range(v)) return "timestamp out of range";
        v = time_from_pg(v);
      }
      memcpy(out, &v, 8);
      return NULL;
    }
    default:
      interval_swap(p, out);
      return NULL;
  }
}

const char *col_check_fixed(col_type type, const uint8_t *fixed, size_t rows, size_t *row) {
  if (type == COL_BOOL) {
    uint8_t all = 0;
    for (size_t i = 0; i < rows; i++) all |= fixed[i];
    if (all <= 1) return NULL;
    for (*row = 0; fixed[*row] <= 1; ++*row) continue;
    return "bool is neither 0 nor 1";
  }
  if (type == COL_TIMESTAMPTZ) {
    int bad = 0;
    for (size_t i = 0; i < rows; i++) {
      int64_t t = load_i64(fixed + 8 * i);
      bad |= (t < COL_TIME_MIN_US) & (t != INT64_MIN);
    }
    if (!bad) return NULL;
    for (*row = 0; time_in_range(load_i64(fixed + 8 * *row)); ++*row) continue;
    return "timestamp out of range";
  }
  return NULL;
}

static const char *check_numeric(const uint8_t *p, size_t n) {
  if (n < 8) return "numeric too short";
  uint32_t digits = pgc_get16(p), sign = pgc_get16(p + 4), scale = pgc_get16(p + 6);
  if (n != 8 + 2 * (size_t)digits) return "numeric of another length than its digits";
  if (sign != 0x0000 && sign != 0x4000 && sign != 0xc000 && sign != 0xd000 && sign != 0xf000)
    return "numeric with an invalid sign";
  if (scale > 0x3fff) return "numeric with an invalid scale";
  for (uint32_t i = 0; i < digits; i++)
    if (pgc_get16(p + 8 + 2 * i) >= 10000) return "numeric with an invalid digit";
  return NULL;
}

static const char *check_inet(const uint8_t *p, size_t n) {
  if (n < 4) return "inet too short";
  if (p[0] != 2 && p[0] != 3) return "inet with an invalid family";
  uint32_t size = p[0] == 2 ? 4 : 16;
  if (p[1] > size * 8) return "inet with an invalid netmask";
  if (p[3] != size || n != 4 + (size_t)size) return "inet with an invalid length";
  return NULL;
}

#define TEXT_OID 25u
/* PostgreSQL's MaxArraySize; far more than fits into a value, but dimensions are multiplied before that shows. */
#define MAX_ELEMENTS 134217727ll

const char *col_each_element(const uint8_t *p, size_t n, void (*each)(void *, const uint8_t *, int32_t), void *state) {
  const char *bad = "array with an invalid frame";
  if (n < 12) return bad;
  uint32_t dimensions = pgc_get32(p), flags = pgc_get32(p + 4);
  if (dimensions > 6 || flags > 1) return bad;
  if (pgc_get32(p + 8) != TEXT_OID) return "array of another type than text";
  size_t at = 12 + 8 * (size_t)dimensions;
  if (n < at) return bad;
  int64_t elements = dimensions == 0 ? 0 : 1;
  for (uint32_t i = 0; i < dimensions; i++) {
    int64_t size = (int32_t)pgc_get32(p + 12 + 8 * i), lower = (int32_t)pgc_get32(p + 16 + 8 * i);
    if (size < 0 || lower + size > INT32_MAX) return "array bound out of range";
    elements *= size;
    if (elements > MAX_ELEMENTS) return "array too large";
  }
  for (; elements > 0; elements--) {
    if (n - at < 4) return bad;
    int32_t length = (int32_t)pgc_get32(p + at);
    at += 4;
    if (length < -1 || (length > 0 && n - at < (size_t)length)) return bad;
    each(state, p + at, length);
    if (length > 0) at += (size_t)length;
  }
  return at == n ? NULL : bad;
}

static void check_element(void *state, const uint8_t *p, int32_t n) {
  if (n > 0 && col_utf8_prefix(p, (size_t)n) != (size_t)n) *(const char **)state = "array element is not UTF-8";
}

static const char *check_text_array(const uint8_t *p, size_t n) {
  const char *element = NULL;
  const char *frame = col_each_element(p, n, check_element, (void *)&element);
  return frame ? frame : element;
}

const char *col_check_variable(col_type type, const uint8_t *p, size_t n) {
  switch (type) {
    case COL_NAME:
      return n > COL_NAME_BYTES ? "name longer than 63 bytes" : NULL;
    case COL_JSON:
      return col_check_json(p, n, 0);
    case COL_JSONB:
      return col_check_json(p, n, 1);
    case COL_NUMERIC:
      return check_numeric(p, n);
    case COL_INET:
      return check_inet(p, n);
    case COL_TEXT_ARRAY:
      return check_text_array(p, n);
    default:
      return NULL;
  }
}

void col_put_field(col_type type, const uint8_t *fixed, uint8_t *dst) {
  uint32_t zero = 0;
  col_scatter(type, fixed, dst, &zero, 0, 1, 0);
}

#ifdef __SSSE3__
/* Length, swapped value and four bytes of nothing in one store. */
static inline void put_word(const uint8_t *value, uint8_t *to) {
  const __m128i order = _mm_setr_epi8(-1, -1, -1, -1, 7, 6, 5, 4, 3, 2, 1, 0, -1, -1, -1, -1);
  const __m128i length = _mm_setr_epi8(0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)value);
  _mm_storeu_si128((__m128i *)(void *)to, _mm_or_si128(_mm_shuffle_epi8(v, order), length));
}

static void scatter_words(const uint8_t *fixed, uint8_t *dst, const uint32_t *pos, size_t n) {
  for (size_t i = 0; i < n; i++) put_word(fixed + 8 * i, dst + pos[i]);
}
#endif

static inline void put_field8(const uint8_t *value, uint8_t *to) {
  pgc_put32(to, 8);
  pgc_put64(to + 4, (uint64_t)load_i64(value));
}

void col_scatter_four(const uint8_t *const fixed[4], uint8_t *dst, const uint32_t *pos, uint32_t shift, size_t n,
                      uint32_t spare) {
  const uint8_t *a = fixed[0], *b = fixed[1], *c = fixed[2], *d = fixed[3];
  dst += shift;
#ifdef __SSSE3__
  for (size_t i = 0; i < 8 * n; i += 8) {
    uint8_t *to = dst + pos[i / 8];
    put_word(a + i, to);
    put_word(b + i, to + 12);
    put_word(c + i, to + 24);
    if (spare >= 4)
      put_word(d + i, to + 36);
    else
      put_field8(d + i, to + 36);
  }
#else
  (void)spare;
  for (size_t i = 0; i < 8 * n; i += 8) {
    uint8_t *to = dst + pos[i / 8];
    put_field8(a + i, to);
    put_field8(b + i, to + 12);
    put_field8(c + i, to + 24);
    put_field8(d + i, to + 36);
  }
#endif
}

#ifdef __SSSE3__
/* Times of PostgreSQL first, many at once, then the same road as other words. */
static void scatter_times(const uint8_t *fixed, uint8_t *dst, const uint32_t *pos, size_t n, uint32_t spare) {
  enum { PART = 64 };
  int64_t part[PART];
  for (size_t from = 0; from < n; from += PART) {
    const size_t count = n - from < PART ? n - from : PART;
    for (size_t i = 0; i < count; i++) part[i] = time_to_pg(load_i64(fixed + 8 * (from + i)));
    col_scatter(COL_INT8, (const uint8_t *)part, dst, pos + from, 0, count, spare);
  }
}
#endif

/* One loop per width, so that the compiler knows it: these two functions are where the time of a block goes. */
void col_scatter(col_type type, const uint8_t *fixed, uint8_t *dst, const uint32_t *pos, uint32_t shift, size_t n,
                 uint32_t spare) {
  dst += shift;
#ifdef __SSSE3__
  if (spare >= 4 && col_width(type) == 8) {
    if (type == COL_TIMESTAMPTZ) {
      scatter_times(fixed, dst, pos, n, spare);
      return;
    }
    scatter_words(fixed, dst, pos, n);
    return;
  }
#else
  (void)spare;
#endif
  switch (col_width(type)) {
    case 1:
      for (size_t i = 0; i < n; i++) {
        uint8_t *to = dst + pos[i];
        pgc_put32(to, 1);
        to[4] = fixed[i];
      }
      return;
    case 2:
      for (size_t i = 0; i < n; i++) {
        uint8_t *to = dst + pos[i];
        uint16_t v;
        memcpy(&v, fixed + 2 * i, 2);
        pgc_put32(to, 2);
        pgc_put16(to + 4, v);
      }
      return;
    case 4:
      for (size_t i = 0; i < n; i++) {
        uint8_t *to = dst + pos[i];
        uint32_t v;
        memcpy(&v, fixed + 4 * i, 4);
        pgc_put64(to, (uint64_t)4 << 32 | v);
      }
      return;
    case 8:
      if (type == COL_TIMESTAMPTZ) {
        for (size_t i = 0; i < n; i++) {
          uint8_t *to = dst + pos[i];
          pgc_put32(to, 8);
          pgc_put64(to + 4, (uint64_t)time_to_pg(load_i64(fixed + 8 * i)));
        }
      } else {
        for (size_t i = 0; i < n; i++) {
          uint8_t *to = dst + pos[i];
          pgc_put32(to, 8);
          pgc_put64(to + 4, (uint64_t)load_i64(fixed + 8 * i));
        }
      }
      return;
    default:
      for (size_t i = 0; i < n; i++) {
        uint8_t *to = dst + pos[i];
        pgc_put32(to, 16);
        interval_swap(fixed + 16 * i, to + 4);
      }
  }
}

int col_gather(col_type type, const uint8_t *src, const uint32_t *pos, uint32_t shift, uint8_t *fixed, size_t n) {
  src += shift;
  const uint32_t length = __builtin_bswap32(col_width(type));
  uint32_t other = 0; /* bits that no good field sets */
  switch (col_width(type)) {
    case 1:
      for (size_t i = 0; i < n; i++) {
        const uint8_t *from = src + pos[i];
        other |= load_u32(from) ^ length;
        fixed[i] = from[4] != 0;
      }
      break;
    case 2:
      for (size_t i = 0; i < n; i++) {
        const uint8_t *from = src + pos[i];
        other |= load_u32(from) ^ length;
        uint16_t v = pgc_get16(from + 4);
        memcpy(fixed + 2 * i, &v, 2);
      }
      break;
    case 4:
      for (size_t i = 0; i < n; i++) {
        uint64_t field = pgc_get64(src + pos[i]);
        uint32_t v = (uint32_t)field;
        other |= (uint32_t)(field >> 32) ^ 4;
        memcpy(fixed + 4 * i, &v, 4);
      }
      break;
    case 8:
      if (type == COL_TIMESTAMPTZ) {
        for (size_t i = 0; i < n; i++) {
          const uint8_t *from = src + pos[i];
          int64_t v = (int64_t)pgc_get64(from + 4);
          other |= (load_u32(from) ^ length) | (uint32_t)!pg_time_in_range(v);
          v = time_from_pg(v);
          memcpy(fixed + 8 * i, &v, 8);
        }
      } else {
        for (size_t i = 0; i < n; i++) {
          const uint8_t *from = src + pos[i];
          other |= load_u32(from) ^ length;
          uint64_t v = pgc_get64(from + 4);
          memcpy(fixed + 8 * i, &v, 8);
        }
      }
      break;
    default:
      for (size_t i = 0; i < n; i++) {
        const uint8_t *from = src + pos[i];
        other |= load_u32(from) ^ length;
        interval_swap(from + 4, fixed + 16 * i);
      }
  }
  return other == 0;
}
