/*
 * Options of a trace: jsonb in, fields of a record out. Strict: what is not known, not of its type or out of its range is
 * an error that names the option and what it may be. The record's other fields are the caller's.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <math.h>

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "prof_shared.h"

typedef enum kind { WHOLE, RATE, FLAG, NAMES, KINDS, PLAN } kind;

typedef struct option {
  const char *name;
  kind kind;
  size_t offset;   /* WHOLE: of the record's field */
  int64 min, max;  /* WHOLE */
  uint32 bit;      /* FLAG: PROF_OPT_*; NAMES: kind of filter */
} option;

#define WHOLE_OPTION(name, field, min, max) {name, WHOLE, offsetof(ProfRecord, field), min, max, 0}

/* In the order of README.md. */
static const option options[] = {
    {"databases", NAMES, 0, 0, 0, PROF_FILTER_DATABASE},
    {"users", NAMES, 0, 0, 0, PROF_FILTER_USER},
    {"applications", NAMES, 0, 0, 0, PROF_FILTER_APPLICATION},
    {"clients", NAMES, 0, 0, 0, PROF_FILTER_CLIENT},
    WHOLE_OPTION("min_duration_us", min_us, 0, INT64CONST(86400000000)),
    {"kinds", KINDS, 0, 0, 0, 0},
    {"sample_rate", RATE, 0, 0, 0, 0},
    {"nested", FLAG, 0, 0, 0, PROF_OPT_NESTED},
    WHOLE_OPTION("duration_s", deadline_us, 1, 366 * 86400),
    WHOLE_OPTION("max_file_bytes", max_file_bytes, 65536, INT64CONST(1) << 38),
    WHOLE_OPTION("max_total_bytes", max_total_bytes, 262144, INT64CONST(1) << 50),
    WHOLE_OPTION("max_query_bytes", max_query_bytes, 0, 64 << 20),
    WHOLE_OPTION("max_params_bytes", max_params_bytes, 0, 64 << 20),
    WHOLE_OPTION("max_plan_bytes", max_plan_bytes, 0, 64 << 20),
    WHOLE_OPTION("max_error_bytes", max_error_bytes, 0, 1 << 20),
    {"params", FLAG, 0, 0, 0, PROF_OPT_PARAMS},
    {"plan", PLAN, 0, 0, 0, 0},
    WHOLE_OPTION("plan_min_us", plan_min_us, 0, INT64CONST(86400000000)),
    {"rusage", FLAG, 0, 0, 0, PROF_OPT_RUSAGE},
    {"workers", FLAG, 0, 0, 0, PROF_OPT_WORKERS},
};

static const struct {
  const char *name;
  uint32 bit;
} kind_names[] = {
    {"select", PROF_KIND_SELECT}, {"insert", PROF_KIND_INSERT}, {"update", PROF_KIND_UPDATE},
    {"delete", PROF_KIND_DELETE}, {"merge", PROF_KIND_MERGE},   {"ddl", PROF_KIND_DDL},
    {"utility", PROF_KIND_UTILITY}, {"copy", PROF_KIND_COPY},   {"txn", PROF_KIND_TXN},
};

static void wrong(const option *of, const char *what) __attribute__((noreturn));

static void wrong(const option *of, const char *what) {
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" %s", of->name, what)));
  pg_unreachable();
}

static int64 whole_number(const option *of, const JsonbValue *value) {
  char *end;
  int64 number;
  if (value->type != jbvNumeric) wrong(of, psprintf("must be a whole number from " INT64_FORMAT " to " INT64_FORMAT, of->min, of->max));
  char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
  errno = 0;
  number = strtoll(text, &end, 10);
  /* 5.00 is a whole number as well. */
  if (*end == '.') end += 1 + strspn(end + 1, "0");
  if (errno != 0 || *end != 0 || end == text || number < of->min || number > of->max)
    wrong(of, psprintf("must be a whole number from " INT64_FORMAT " to " INT64_FORMAT ", not %s", of->min, of->max, text));
  return number;
}

/* Share of root statements, as the highest 32-bit number that takes one. */
static int64 sample_threshold(const option *of, const JsonbValue *value) {
  double rate = -1;
  if (value->type == jbvNumeric)
    rate = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
  if (!(rate > 0 && rate <= 1)) wrong(of, "must be a number above 0 and up to 1");
  double threshold = floor(rate * 4294967296.0) - 1;
  return threshold < 0 ? 0 : (int64)threshold;
}

static void check_client(const option *of, const char *text) {
  char address[PROF_NAME_BYTES];
  unsigned char bytes[16];
  if (strcmp(text, "[local]") == 0) return;
  strlcpy(address, text, sizeof address);
  char *slash = strchr(address, '/');
  long bits = 0;
  bool good = true;
  if (slash != NULL) {
    char *end;
    *slash = 0;
    bits = strtol(slash + 1, &end, 10);
    good = slash[1] >= '0' && slash[1] <= '9' && *end == 0;
  }
  if (inet_pton(AF_INET, address, bytes) == 1)
    good = good && bits <= 32;
  else
    good = good && inet_pton(AF_INET6, address, bytes) == 1 && bits <= 128;
  if (!good) wrong(of, psprintf("must hold addresses (192.0.2.1), networks (192.0.2.0/24, 2001:db8::/32) or \"[local]\", not \"%s\"", text));
}

static void add_name(const option *of, const JsonbValue *value, ProfRecord *record) {
  if (value->type != jbvString) wrong(of, "must be an array of texts");
  char *text = pnstrdup(value->val.string.val, value->val.string.len);
  if (value->val.string.len >= PROF_NAME_BYTES)
    wrong(of, psprintf("holds a text of more than %d bytes: \"%s\"", PROF_NAME_BYTES - 1, text));
  if (of->bit == PROF_FILTER_CLIENT) check_client(of, text);
  if (!prof_record_add_filter(record, (char)of->bit, text, (size_t)value->val.string.len))
    wrong(of, psprintf("is too long: all filters together may have %d bytes", PROF_FILTER_BYTES));
  pfree(text);
}

static void add_kind(const option *of, const JsonbValue *value, ProfRecord *record) {
  if (value->type == jbvString)
    for (size_t i = 0; i < lengthof(kind_names); i++)
      if ((int)strlen(kind_names[i].name) == value->val.string.len &&
          memcmp(kind_names[i].name, value->val.string.val, (size_t)value->val.string.len) == 0) {
        record->kinds |= kind_names[i].bit;
        return;
      }
  wrong(of, "must be an array of: select, insert, update, delete, merge, ddl, utility, copy, txn");
}

static void read_array(const option *of, const JsonbValue *value, ProfRecord *record) {
  const char *expected = of->kind == KINDS
                             ? "must be an array of: select, insert, update, delete, merge, ddl, utility, copy, txn"
                             : "must be an array of texts";
  if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
      JsonContainerIsScalar(value->val.binary.data))
    wrong(of, expected);
  JsonbIterator *at = JsonbIteratorInit(value->val.binary.data);
  JsonbValue element;
  JsonbIteratorToken token;
  int count = 0;
  if (of->kind == KINDS) record->kinds = 0;
  while ((token = JsonbIteratorNext(&at, &element, true)) != WJB_DONE) {
    if (token != WJB_ELEM) continue;
    count++;
    if (of->kind == KINDS)
      add_kind(of, &element, record);
    else
      add_name(of, &element, record);
  }
  if (count == 0) wrong(of, "must not be empty: leave it out to take all");
}

static void read_plan(const option *of, const JsonbValue *value, ProfRecord *record) {
  if (value->type == jbvString && value->val.string.len == 4) {
    if (memcmp(value->val.string.val, "text", 4) == 0) {
      record->options |= PROF_OPT_PLAN_TEXT;
      return;
    }
    if (memcmp(value->val.string.val, "json", 4) == 0) {
      record->options |= PROF_OPT_PLAN_JSON;
      return;
    }
  }
  wrong(of, "must be \"text\" or \"json\"");
}

static void read_option(const option *of, const JsonbValue *value, ProfRecord *record) {
  int64 number;
  switch (of->kind) {
  case WHOLE:
    number = whole_number(of, value);
    memcpy((char *)record + of->offset, &number, sizeof number);
    break;
  case RATE:
    record->sample_threshold = sample_threshold(of, value);
    break;
  case FLAG:
    if (value->type != jbvBool) wrong(of, "must be true or false");
    if (value->val.boolean)
      record->options |= of->bit;
    else
      record->options &= ~(int64)of->bit;
    break;
  case NAMES:
  case KINDS:
    read_array(of, value, record);
    break;
  case PLAN:
    read_plan(of, value, record);
    break;
  }
}

static void unknown(const char *name) {
  StringInfoData known;
  initStringInfo(&known);
  for (size_t i = 0; i < lengthof(options); i++) appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", options[i].name);
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\"", name),
                  errhint("Options are: %s.", known.data)));
}

void prof_options_read(struct Jsonb *given, ProfRecord *record) {
  Jsonb *jsonb = (Jsonb *)given;
  record->kinds = PROF_KIND_ALL;
  record->options = PROF_OPT_NESTED;
  record->sample_threshold = PG_UINT32_MAX;
  record->max_file_bytes = (int64)prof_default_file_kb * 1024;
  record->max_total_bytes = (int64)prof_default_total_kb * 1024;
  record->max_query_bytes = prof_default_query_bytes;
  record->max_params_bytes = 4096;
  record->max_plan_bytes = 65536;
  record->max_error_bytes = 4096;
  if (!JB_ROOT_IS_OBJECT(jsonb))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object")));
  JsonbIterator *at = JsonbIteratorInit(&jsonb->root);
  JsonbValue key, value;
  JsonbIteratorToken token;
  while ((token = JsonbIteratorNext(&at, &key, true)) != WJB_DONE) {
    if (token != WJB_KEY) continue;
    char *name = pnstrdup(key.val.string.val, key.val.string.len);
    const option *of = NULL;
    for (size_t i = 0; i < lengthof(options); i++)
      if (strcmp(options[i].name, name) == 0) of = &options[i];
    if (of == NULL) unknown(name);
    (void)JsonbIteratorNext(&at, &value, true);
    read_option(of, &value, record);
    pfree(name);
  }
}
