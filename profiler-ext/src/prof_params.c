/* Parameters as text. In, out, owner of the memory: prof_params.h. */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "csv_columns.h"
#include "csv_writer.h"
#include "fmgr.h"
#include "prof_guard.h"
#include "prof_params.h"
#include "prof_text.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Kept by a frame between statements; more is given back. */
#define KEPT_BYTES 8192

typedef struct Writing {
  ProfFrame *frame;
  ParamListInfo params;
  size_t limit; /* most bytes of all */
  bool cut;
  char number[CSVW_NUMBER_BYTES];
  /* For the guarded call. */
  const ParamExternData *param;
  char *rendered;
} Writing;

/* Appends bytes up to the limit, at a character's boundary. False: the limit is reached. */
static bool append(Writing *w, const char *bytes, size_t n) {
  ProfFrame *frame = w->frame;
  size_t used = frame->params_length;

  if (used + n > w->limit) {
    n = prof_text_cut(bytes, n, w->limit - used);
    w->cut = true;
  }
  if (used + n > (size_t)frame->params_capacity) {
    size_t capacity = Min(w->limit, Max(2 * (used + n), 512));
    char *bigger = MemoryContextAllocExtended(TopMemoryContext, capacity, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);

    if (bigger == NULL) {
      w->cut = true;
      return false;
    }
    if (frame->params != NULL) {
      memcpy(bigger, frame->params, used);
      pfree(frame->params);
    }
    frame->params = bigger;
    frame->params_capacity = (int)capacity;
  }
  memcpy(frame->params + used, bytes, n);
  frame->params_length += (int)n;
  return !w->cut;
}

/* A value with its quotes doubled. */
static bool append_quoted(Writing *w, const char *bytes, size_t n) {
  if (!append(w, "'", 1)) return false;
  while (n > 0) {
    const char *quote = memchr(bytes, '\'', n);
    size_t length = quote == NULL ? n : (size_t)(quote - bytes) + 1;

    if (!append(w, bytes, length) || (quote != NULL && !append(w, "'", 1))) return false;
    bytes += length;
    n -= length;
  }
  return append(w, "'", 1);
}

static void call_output(void *arg) {
  Writing *w = arg;
  Oid function;
  bool varlena;

  getTypeOutputInfo(w->param->ptype, &function, &varlena);
  w->rendered = OidOutputFunctionCall(function, w->param->value);
}

/* Value of a usual type, without calling anything. */
static bool append_value(Writing *w, const ParamExternData *param) {
  Datum value = param->value;

  switch (param->ptype) {
  case BOOLOID:
    return append_quoted(w, DatumGetBool(value) ? "t" : "f", 1);
  case INT2OID:
    return append_quoted(w, w->number, csvw_i64(w->number, DatumGetInt16(value)) - w->number);
  case INT4OID:
    return append_quoted(w, w->number, csvw_i64(w->number, DatumGetInt32(value)) - w->number);
  case INT8OID:
    return append_quoted(w, w->number, csvw_i64(w->number, DatumGetInt64(value)) - w->number);
  case OIDOID:
    return append_quoted(w, w->number, csvw_u64(w->number, DatumGetObjectId(value)) - w->number);
  case NAMEOID:
    return append_quoted(w, NameStr(*DatumGetName(value)), strlen(NameStr(*DatumGetName(value))));
  case UNKNOWNOID:
    return append_quoted(w, DatumGetCString(value), strlen(DatumGetCString(value)));
  case TEXTOID:
  case VARCHAROID:
  case BPCHAROID:
  case JSONOID:
  case XMLOID: {
    struct varlena *text = (struct varlena *)DatumGetPointer(value);

    if (!VARATT_IS_EXTERNAL(text) && !VARATT_IS_COMPRESSED(text))
      return append_quoted(w, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
  } break;
  default:
    break;
  }
  w->param = param;
  w->rendered = NULL;
  if (!prof_guarded(call_output, w)) return append(w, "?", 1);
  return append_quoted(w, w->rendered, strlen(w->rendered));
}

void prof_params_render(ProfFrame *frame, ParamListInfo params) {
  Writing w = {.frame = frame, .params = params};

  if (params == NULL || params->numParams == 0 || params->paramFetch != NULL) return;
  for (uint32 bits = frame->mask; bits != 0; bits &= bits - 1) {
    const ProfTrace *trace = &prof_traces[__builtin_ctz(bits)];

    if (trace->options & PROF_OPT_PARAMS) w.limit = Max(w.limit, (size_t)trace->max_params_bytes);
  }
  if (w.limit == 0) return;
  if (frame->params_capacity > KEPT_BYTES) {
    pfree(frame->params);
    frame->params = NULL;
    frame->params_capacity = 0;
  }
  frame->params_length = 0;
  for (int i = 0; i < params->numParams; i++) {
    const ParamExternData *param = &params->params[i];
    char name[CSVW_NUMBER_BYTES + 8] = ", $";
    char *end = csvw_u64(name + 3, i + 1);
    int skipped = frame->params_length == 0 ? 2 : 0;

    /* A place that nobody filled: PL/pgSQL has one for each variable. */
    if (!OidIsValid(param->ptype)) continue;
    memcpy(end, " = ", 3);
    if (!append(&w, name + skipped, (end + 3) - (name + skipped)) ||
        !(param->isnull ? append(&w, "NULL", 4) : append_value(&w, param)))
      break;
  }
  if (w.cut) frame->flags |= CSV_FLAG_PARAMS_CUT;
}
