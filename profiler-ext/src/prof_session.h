/* What the sink sees of this backend's traces beyond prof_trace.h; see prof_session.c, which owns it. */
#ifndef PROF_SESSION_H
#define PROF_SESSION_H

#include "prof_shared.h"

#pragma GCC visibility push(hidden)

extern uint32 prof_live_mask;         /* traces that still take rows from this session */
extern int64 prof_next_deadline_us;   /* of the first one to end */
extern ProfSlot *prof_my_slot;        /* not NULL while any trace runs in this backend */
extern int prof_my_slot_number(void);

#pragma GCC visibility pop

#endif
