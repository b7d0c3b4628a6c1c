/*
 * Parameters of a statement as text: $1 = 'value', $2 = NULL.
 *
 * In: what the client or a function bound, at the statement's start. Out: text in the frame's own buffer, which it keeps
 * for its next statement; no longer than the traces ask for. Values of usual types are read where they lie; for others
 * their output functions are called under guard, and parameters that cannot be rendered are left out. Those of PL/pgSQL
 * (fetched on demand) are not asked for: fetching them is part of executing.
 */
#ifndef PROF_PARAMS_H
#define PROF_PARAMS_H

#include "postgres.h"

#include "nodes/params.h"
#include "prof_frame.h"

extern void prof_params_render(ProfFrame *frame, ParamListInfo params);

#endif
