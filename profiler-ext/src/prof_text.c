/* Texts and names of statements. In, out: prof_text.h. */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "prof_text.h"

void prof_text_tag(ProfFrame *frame, CmdType operation) {
  /* Sixteen bytes each, copied as a whole; the first operations have the same numbers in all versions. */
  static const char tags[][16] = {"", "SELECT", "UPDATE", "INSERT", "DELETE"};
  static const char merge[16] = "MERGE";

  frame->tag = tags[operation < lengthof(tags) ? operation : 0];
  frame->tag_length = operation > CMD_UNKNOWN && operation < lengthof(tags) ? 6 : 0;
#if PG_VERSION_NUM >= 150000
  if (operation == CMD_MERGE) {
    frame->tag = merge;
    frame->tag_length = 5;
  }
#else
  (void)merge;
#endif
}

/* Space as the scanner of SQL knows it. */
static inline bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

const char *prof_text_of(const ProfFrame *frame, size_t *length) {
  const char *text = frame->text;
  size_t n;

  if (text == NULL) return NULL;
  if (frame->text_location < 0)
    n = strlen(text);
  else {
    text += frame->text_location;
    n = frame->text_length > 0 ? (size_t)frame->text_length : strlen(text);
  }
  while (n > 0 && is_space(*text)) {
    text++;
    n--;
  }
  /* Texts whose end is not known have the semicolon that others leave out. */
  while (n > 0 && (is_space(text[n - 1]) || text[n - 1] == ';')) n--;
  *length = n;
  return text;
}

size_t prof_text_cut(const char *text, size_t n, size_t limit) {
  if (n <= limit) return n;
  if (GetDatabaseEncoding() == PG_UTF8) {
    while (limit > 0 && ((unsigned char)text[limit] & 0xc0) == 0x80) limit--;
    return limit;
  }
  return pg_mbcliplen(text, (int)Min(n, PG_INT32_MAX), (int)limit);
}

uint32 prof_text_guess_kind(const char *text) {
  static const struct {
    const char *word;
    uint32 kind;
  } words[] = {
      {"select", PROF_KIND_SELECT}, {"with", PROF_KIND_SELECT},   {"values", PROF_KIND_SELECT},
      {"table", PROF_KIND_SELECT},  {"insert", PROF_KIND_INSERT}, {"update", PROF_KIND_UPDATE},
      {"delete", PROF_KIND_DELETE}, {"merge", PROF_KIND_MERGE},   {"create", PROF_KIND_DDL},
      {"alter", PROF_KIND_DDL},     {"drop", PROF_KIND_DDL},      {"grant", PROF_KIND_DDL},
      {"revoke", PROF_KIND_DDL},    {"copy", PROF_KIND_COPY},     {"begin", PROF_KIND_TXN},
      {"start", PROF_KIND_TXN},     {"commit", PROF_KIND_TXN},    {"end", PROF_KIND_TXN},
      {"rollback", PROF_KIND_TXN},  {"savepoint", PROF_KIND_TXN}, {"release", PROF_KIND_TXN},
  };

  while (text != NULL && (is_space(*text) || *text == '(' || (text[0] == '-' && text[1] == '-') ||
                          (text[0] == '/' && text[1] == '*'))) {
    const char *end = NULL;

    if (*text == '-')
      end = strchr(text, '\n');
    else if (*text == '/')
      end = strstr(text, "*/") != NULL ? strstr(text, "*/") + 2 : NULL;
    else
      end = text + 1;
    text = end;
  }
  for (int i = 0; text != NULL && i < lengthof(words); i++) {
    size_t n = strlen(words[i].word);

    if (pg_strncasecmp(text, words[i].word, n) == 0 && !isalnum((unsigned char)text[n]) && text[n] != '_')
      return words[i].kind;
  }
  return PROF_KIND_UTILITY;
}
