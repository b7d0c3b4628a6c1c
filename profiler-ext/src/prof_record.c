/* Records of traces and their text; see prof_record.h. */
#include "prof_record.h"

#include <stdio.h>
#include <string.h>

#define FIRST_LINE "sql_profiler trace 1\n"
#define LAST_LINE "end\n"

typedef struct field {
  const char *key;
  size_t offset;
  size_t bytes; /* of a text; 0: a number */
  int64_t min, max;
} field;

#define NUMBER(name, min, max) {#name, offsetof(ProfRecord, name), 0, min, max}
#define TEXT(name) {#name, offsetof(ProfRecord, name), sizeof(((ProfRecord *)0)->name), 0, 0}

static const field fields[] = {
    NUMBER(id, 1, INT32_MAX),
    TEXT(name),
    NUMBER(state, PROF_STATE_RUNNING, PROF_STATE_STOPPED),
    NUMBER(stop_reason, 0, PROF_STOP_COUNT - 1),
    NUMBER(owner, 1, UINT32_MAX),
    TEXT(owner_name),
    NUMBER(own_only, 0, 1),
    NUMBER(started_us, 0, INT64_MAX),
    NUMBER(stopped_us, 0, INT64_MAX),
    NUMBER(deadline_us, 0, INT64_MAX),
    NUMBER(kinds, 0, (1 << 9) - 1),
    NUMBER(options, 0, (1 << 6) - 1),
    NUMBER(sample_threshold, 0, UINT32_MAX),
    NUMBER(min_us, 0, INT64_MAX),
    NUMBER(plan_min_us, 0, INT64_MAX),
    NUMBER(max_file_bytes, 1, INT64_C(1) << 39),
    NUMBER(max_total_bytes, 1, INT64_MAX),
    NUMBER(max_query_bytes, 0, INT32_MAX),
    NUMBER(max_params_bytes, 0, INT32_MAX),
    NUMBER(max_plan_bytes, 0, INT32_MAX),
    NUMBER(max_error_bytes, 0, INT32_MAX),
    NUMBER(settled, 0, 1),
    NUMBER(rows, 0, INT64_MAX),
    NUMBER(lost, 0, INT64_MAX),
    NUMBER(lost_reason, INT32_MIN, INT32_MAX),
    NUMBER(bytes, 0, INT64_MAX),
    NUMBER(files, 0, INT64_MAX),
    TEXT(boot),
    TEXT(options_text),
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

static const char filter_kinds[] = {PROF_FILTER_DATABASE, PROF_FILTER_USER, PROF_FILTER_APPLICATION,
                                    PROF_FILTER_CLIENT};

static char *put_text(char *to, const char *text) {
  static const char digits[] = "0123456789abcdef";
  for (; *text != 0; text++) {
    unsigned char c = (unsigned char)*text;
    if (c > ' ' && c < 127 && c != '%') {
      *to++ = (char)c;
    } else {
      *to++ = '%';
      *to++ = digits[c >> 4];
      *to++ = digits[c & 15];
    }
  }
  return to;
}

size_t prof_record_write(const ProfRecord *record, char *text) {
  char *to = text + sprintf(text, FIRST_LINE);
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    const char *from = (const char *)record + fields[i].offset;
    to += sprintf(to, "%s ", fields[i].key);
    if (fields[i].bytes > 0) {
      to = put_text(to, from);
    } else {
      int64_t number;
      memcpy(&number, from, sizeof number);
      to += sprintf(to, "%lld", (long long)number);
    }
    *to++ = '\n';
  }
  size_t at = 0;
  for (const char *filter; (filter = prof_record_next_filter(record, &at)) != NULL;) {
    to += sprintf(to, "filter %c", *filter);
    to = put_text(to, filter + 1);
    *to++ = '\n';
  }
  to += sprintf(to, LAST_LINE);
  return (size_t)(to - text);
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes put_text. Length, or -1 where that is not what was written or does not fit with its NUL. */
static int get_text(const char *from, const char *end, char *to, size_t room) {
  size_t length = 0;
  while (from < end) {
    int c = (unsigned char)*from++;
    if (c <= ' ' || c >= 127) return -1;
    if (c == '%') {
      if (end - from < 2 || hex(from[0]) < 0 || hex(from[1]) < 0) return -1;
      c = hex(from[0]) << 4 | hex(from[1]);
      from += 2;
      if (c == 0) return -1;
    }
    if (length + 1 >= room) return -1;
    to[length++] = (char)c;
  }
  to[length] = 0;
  return (int)length;
}

static bool get_number(const char *from, const char *end, int64_t *number) {
  bool negative = from < end && *from == '-';
  if (negative) from++;
  if (from == end) return false;
  *number = 0;
  for (; from < end; from++) {
    if (*from < '0' || *from > '9') return false;
    if (__builtin_mul_overflow(*number, (int64_t)10, number)) return false;
    if (__builtin_add_overflow(*number, (int64_t)(*from - '0'), number)) return false;
  }
  if (negative) *number = -*number;
  return true;
}

static const char *read_line(const char *from, const char *end, ProfRecord *record, bool *seen) {
  const char *space = memchr(from, ' ', (size_t)(end - from));
  if (space == NULL) return "a line without a value";
  size_t key = (size_t)(space - from);
  const char *value = space + 1;
  if (key == 6 && memcmp(from, "filter", 6) == 0) {
    char text[PROF_NAME_BYTES];
    if (value == end || memchr(filter_kinds, *value, sizeof filter_kinds) == NULL) return "unknown kind of filter";
    int length = get_text(value + 1, end, text, sizeof text);
    return length >= 0 && prof_record_add_filter(record, *value, text, (size_t)length) ? NULL : "bad filter";
  }
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    if (strlen(fields[i].key) != key || memcmp(fields[i].key, from, key) != 0) continue;
    if (seen[i]) return "a key twice";
    seen[i] = true;
    char *to = (char *)record + fields[i].offset;
    if (fields[i].bytes > 0) return get_text(value, end, to, fields[i].bytes) >= 0 ? NULL : "bad text";
    int64_t number;
    if (!get_number(value, end, &number) || number < fields[i].min || number > fields[i].max)
      return "a number out of its range";
    memcpy(to, &number, sizeof number);
    return NULL;
  }
  return "unknown key";
}

const char *prof_record_read(const char *text, size_t length, ProfRecord *record) {
  bool seen[FIELD_COUNT] = {false};
  const char *at = text, *end = text + length;
  memset(record, 0, sizeof *record);
  if (length < strlen(FIRST_LINE) || memcmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0) return "not of this version";
  at += strlen(FIRST_LINE);
  for (;;) {
    const char *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (newline == NULL) return "cut short";
    if ((size_t)(newline + 1 - at) == strlen(LAST_LINE) && memcmp(at, LAST_LINE, strlen(LAST_LINE)) == 0) {
      if (newline + 1 != end) return "something behind its end";
      break;
    }
    const char *wrong = read_line(at, newline, record, seen);
    if (wrong != NULL) return wrong;
    at = newline + 1;
  }
  for (size_t i = 0; i < FIELD_COUNT; i++)
    if (!seen[i]) return "a key is missing";
  return NULL;
}

bool prof_record_add_filter(ProfRecord *record, char kind, const char *text, size_t length) {
  size_t used = (size_t)record->filter_bytes;
  if (length >= PROF_NAME_BYTES || PROF_FILTER_BYTES - used < length + 2) return false;
  record->filters[used] = kind;
  memcpy(record->filters + used + 1, text, length);
  record->filters[used + 1 + length] = 0;
  record->filter_bytes = (int64_t)(used + length + 2);
  return true;
}

const char *prof_record_next_filter(const ProfRecord *record, size_t *at) {
  size_t used = (size_t)record->filter_bytes;
  if (*at >= used) return NULL;
  const char *filter = record->filters + *at;
  *at += strlen(filter) + 1;
  return filter;
}

bool prof_record_has_filter(const ProfRecord *record, char kind) {
  size_t at = 0;
  for (const char *filter; (filter = prof_record_next_filter(record, &at)) != NULL;)
    if (*filter == kind) return true;
  return false;
}
