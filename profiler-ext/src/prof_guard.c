/* Guarded calls. In, out: prof_guard.h. */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "prof_frame.h"
#include "prof_guard.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

bool prof_guarded(void (*work)(void *), void *arg) {
  MemoryContext context = CurrentMemoryContext;
  ResourceOwner owner = CurrentResourceOwner;
  int nest_level = GetCurrentTransactionNestLevel();
  uint32 holdoff;
  volatile bool done = false;

  if (IsInParallelMode() || !IsTransactionState() || prof_rendering) return false;
  prof_rendering = true;
  HOLD_INTERRUPTS();
  holdoff = InterruptHoldoffCount;
  PG_TRY();
  {
    BeginInternalSubTransaction(NULL);
    MemoryContextSwitchTo(context);
    work(arg);
    ReleaseCurrentSubTransaction();
    done = true;
  }
  PG_CATCH();
  {
    /* Throwing set it to 0. */
    InterruptHoldoffCount = holdoff;
    MemoryContextSwitchTo(context);
    FlushErrorState();
    if (GetCurrentTransactionNestLevel() > nest_level) RollbackAndReleaseCurrentSubTransaction();
  }
  PG_END_TRY();
  MemoryContextSwitchTo(context);
  CurrentResourceOwner = owner;
  RESUME_INTERRUPTS();
  prof_rendering = false;
  return done;
}

bool prof_guarded_lightly(void (*work)(void *), void *arg) {
  MemoryContext context = CurrentMemoryContext;
  uint32 holdoff;
  volatile bool done = false;

  HOLD_INTERRUPTS();
  holdoff = InterruptHoldoffCount;
  PG_TRY();
  {
    work(arg);
    done = true;
  }
  PG_CATCH();
  {
    InterruptHoldoffCount = holdoff;
    MemoryContextSwitchTo(context);
    FlushErrorState();
  }
  PG_END_TRY();
  RESUME_INTERRUPTS();
  return done;
}
