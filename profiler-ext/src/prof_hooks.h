/*
 * The hooks of a traced server: the way in for everything that becomes a row. In: PostgreSQL's calls. Out: the same calls,
 * to whoever had the hooks before, and rows. Called by _PG_init in the postmaster; what is allocated there is inherited by
 * all backends, and nothing that a hook does later may throw.
 */
#ifndef PROF_HOOKS_H
#define PROF_HOOKS_H

#include "postgres.h"

#include "compat.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#elif PG_VERSION_NUM >= 140000
#include "utils/queryjumble.h"
#endif

extern void prof_hooks_install(void);

/* Core computes query ids for this session because a trace runs. */
extern bool prof_hooks_query_id_asked;

#if PG_VERSION_NUM >= 160000
#define PROF_JUMBLE(query, text) JumbleQuery(query)
#elif PG_VERSION_NUM >= 140000
#define PROF_JUMBLE(query, text) JumbleQuery(query, text)
#endif

/* compute_query_id = auto means: when somebody asks. From the next analysis of a statement on. */
static inline void prof_hooks_ask_query_id(void) {
#if PG_VERSION_NUM >= 140000
  if (unlikely(!query_id_enabled)) query_id_enabled = prof_hooks_query_id_asked = true;
#endif
}

/* No trace runs any more. */
static inline void prof_hooks_release_query_id(void) {
#if PG_VERSION_NUM >= 140000
  if (unlikely(prof_hooks_query_id_asked)) query_id_enabled = prof_hooks_query_id_asked = false;
#endif
}

#endif
