/* JSON syntax check; see json.h. One pass, a bit per open container instead of recursion. */
#include "json.h"

#include <string.h>

typedef struct cursor {
  const uint8_t *p, *end;
  int jsonb;
} cursor;

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* What PostgreSQL's lexer takes as part of one token; it decides where "1a" or "nullx" ends. */
static int is_word(uint8_t c) {
  return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c >= 0x80;
}

static void skip_space(cursor *c) {
  while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r')) c->p++;
}

/* After the opening quote. */
static const char *check_string(cursor *c) {
  int high = 0; /* a high surrogate waits for its other half */
  while (c->p < c->end) {
    uint8_t ch = *c->p++;
    if (ch == '"') return high ? "unpaired surrogate in a JSON string" : NULL;
    if (ch < 0x20) return "control character in a JSON string";
    if (ch != '\\') {
      if (high) return "unpaired surrogate in a JSON string";
      continue;
    }
    if (c->p == c->end) break;
    ch = *c->p++;
    if (ch != 'u') {
      if (ch == 0 || strchr("\"\\/bfnrt", ch) == NULL) return "invalid escape in a JSON string";
      if (high) return "unpaired surrogate in a JSON string";
      continue;
    }
    if (c->end - c->p < 4) return "invalid \\u escape in a JSON string";
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
      int digit = hex_digit(*c->p++);
      if (digit < 0) return "invalid \\u escape in a JSON string";
      code = code << 4 | (unsigned)digit;
    }
    if (!c->jsonb) continue;
    if (code == 0) return "\\u0000 in a jsonb string";
    if (code >= 0xd800 && code <= 0xdbff) {
      if (high) return "unpaired surrogate in a JSON string";
      high = 1;
    } else if (code >= 0xdc00 && code <= 0xdfff) {
      if (!high) return "unpaired surrogate in a JSON string";
      high = 0;
    } else if (high) {
      return "unpaired surrogate in a JSON string";
    }
  }
  return "JSON string without an end";
}

/* numeric holds 131072 digits before and 16383 after the decimal point; jsonb numbers are numeric. */
static const char *check_range(const uint8_t *p, const uint8_t *end) {
  long digits_before = 0, digits_after = 0, first = -1, seen = 0, exponent = 0;
  int after = 0, negative = 0;
  if (*p == '-') p++;
  for (; p < end && *p != 'e' && *p != 'E'; p++) {
    if (*p == '.') {
      after = 1;
      continue;
    }
    if (first < 0 && *p != '0') first = seen;
    seen++;
    if (after)
      digits_after++;
    else
      digits_before++;
  }
  if (p < end) {
    p++;
    if (*p == '+' || *p == '-') negative = *p++ == '-';
    for (; p < end; p++)
      if (exponent < 2000000000) exponent = exponent * 10 + (*p - '0');
    if (exponent >= 0x7fffffff / 2) return "jsonb number out of range";
    if (negative) exponent = -exponent;
  }
  long scale = digits_after - exponent;
  if (scale > 16383) return "jsonb number out of range";
  if (first >= 0 && digits_before - 1 - first + exponent > 131071) return "jsonb number out of range";
  return NULL;
}

static const char *check_number(cursor *c) {
  const uint8_t *start = c->p;
  const char *bad = "invalid JSON number";
  if (*c->p == '-') c->p++;
  if (c->p == c->end || !is_digit(*c->p)) return bad;
  if (*c->p == '0')
    c->p++;
  else
    while (c->p < c->end && is_digit(*c->p)) c->p++;
  if (c->p < c->end && *c->p == '.') {
    c->p++;
    if (c->p == c->end || !is_digit(*c->p)) return bad;
    while (c->p < c->end && is_digit(*c->p)) c->p++;
  }
  if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
    c->p++;
    if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
    if (c->p == c->end || !is_digit(*c->p)) return bad;
    while (c->p < c->end && is_digit(*c->p)) c->p++;
  }
  if (c->p < c->end && is_word(*c->p)) return bad;
  return c->jsonb ? check_range(start, c->p) : NULL;
}

static const char *check_word(cursor *c) {
  const uint8_t *start = c->p;
  while (c->p < c->end && is_word(*c->p)) c->p++;
  size_t n = (size_t)(c->p - start);
  if (n == 4 && (memcmp(start, "true", 4) == 0 || memcmp(start, "null", 4) == 0)) return NULL;
  if (n == 5 && memcmp(start, "false", 5) == 0) return NULL;
  return "invalid JSON token";
}

/* A member's name and its colon. */
static const char *check_name(cursor *c) {
  skip_space(c);
  if (c->p == c->end || *c->p != '"') return "JSON object without a member name";
  c->p++;
  const char *why = check_string(c);
  if (why) return why;
  skip_space(c);
  if (c->p == c->end || *c->p != ':') return "JSON member without a colon";
  c->p++;
  return NULL;
}

const char *col_check_json(const uint8_t *p, size_t n, int jsonb) {
  cursor c = {p, p + n, jsonb};
  uint8_t objects[COL_JSON_DEPTH / 8] = {0}; /* bit set: the container at that depth is an object */
  unsigned depth = 0;
  const char *why;
  for (;;) { /* one value */
    skip_space(&c);
    if (c.p == c.end) return "JSON ends too early";
    uint8_t ch = *c.p;
    if (ch == '{' || ch == '[') {
      c.p++;
      skip_space(&c);
      if (c.p < c.end && *c.p == (ch == '{' ? '}' : ']')) {
        if (depth == COL_JSON_DEPTH) return "JSON nested too deep";
        c.p++;
      } else {
        if (depth == COL_JSON_DEPTH) return "JSON nested too deep";
        uint8_t bit = (uint8_t)(1u << (depth & 7));
        if (ch == '{')
          objects[depth >> 3] = (uint8_t)(objects[depth >> 3] | bit);
        else
          objects[depth >> 3] = (uint8_t)(objects[depth >> 3] & ~bit);
        depth++;
        if (ch == '{' && (why = check_name(&c)) != NULL) return why;
        continue;
      }
    } else if (ch == '"') {
      c.p++;
      if ((why = check_string(&c)) != NULL) return why;
    } else if (ch == '-' || is_digit(ch)) {
      if ((why = check_number(&c)) != NULL) return why;
    } else if ((why = check_word(&c)) != NULL) {
      return why;
    }
    for (;;) { /* what may follow a value */
      skip_space(&c);
      if (depth == 0) return c.p == c.end ? NULL : "something after the JSON value";
      if (c.p == c.end) return "JSON ends too early";
      int object = objects[(depth - 1) >> 3] >> ((depth - 1) & 7) & 1;
      if (*c.p == ',') {
        c.p++;
        if (object && (why = check_name(&c)) != NULL) return why;
        break;
      }
      if (*c.p != (object ? '}' : ']')) return "JSON container without an end";
      c.p++;
      depth--;
    }
  }
}
