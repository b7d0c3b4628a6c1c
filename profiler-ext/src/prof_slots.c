/*
 * What the slots of a trace hold: from shared memory where the trace runs, from its files where it has ended. In: an id.
 * Out: positions, in the caller's memory context.
 */
#include "postgres.h"

#include <dirent.h>
#include <sys/stat.h>

#include "prof_shared.h"

/* Where a trace runs, or -1. */
static int place_of(int64 id) {
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    if (pg_atomic_read_u64(&prof_shared->traces[i].stop) >> 32 == (uint64)id) return i;
  return -1;
}

/*
 * One consistent look at a slot that is being written to: base before and after are the same, or the ring was emptied
 * meanwhile. False: it has no rows of this trace.
 */
static bool look(ProfLine *line, int64 id, ProfRingState *at) {
  for (;;) {
    if (__atomic_load_n(&line->trace, __ATOMIC_ACQUIRE) != id) return false;
    at->base = __atomic_load_n(&line->base, __ATOMIC_ACQUIRE);
    at->committed = __atomic_load_n(&line->committed, __ATOMIC_ACQUIRE);
    at->line = __atomic_load_n(&line->line, __ATOMIC_RELAXED);
    at->lost = __atomic_load_n(&line->lost, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&line->base, __ATOMIC_RELAXED) == at->base) break;
  }
  if (at->committed < at->base) at->committed = at->base;
  if (at->lost > at->line) at->lost = at->line;
  at->open = true;
  return at->committed != 0 || at->line != 0;
}

/* The end of a slot's last CSV file, for slots whose ring is gone. */
static void look_at_csv(const char *folder, int32 slot, uint64 file, ProfRingState *at) {
  char path[PROF_PATH_BYTES];
  struct stat about;
  memset(at, 0, sizeof *at);
  prof_ring_path(path, folder, slot, file);
  if (lstat(path, &about) != 0 || !S_ISREG(about.st_mode)) about.st_size = 0;
  at->base = at->committed = prof_position(file, (uint64)about.st_size);
}

static int by_slot(const void *a, const void *b) {
  int32 left = ((const ProfSlotInfo *)a)->slot, right = ((const ProfSlotInfo *)b)->slot;
  return (left > right) - (left < right);
}

typedef struct list {
  ProfSlotInfo *slots;
  int count, room;
} list;

static ProfSlotInfo *add(list *to, int32 slot) {
  if (to->count == to->room) {
    to->room = to->room * 2 + 64;
    to->slots = to->slots == NULL ? palloc(sizeof *to->slots * (size_t)to->room)
                                  : repalloc(to->slots, sizeof *to->slots * (size_t)to->room);
  }
  ProfSlotInfo *added = &to->slots[to->count++];
  memset(added, 0, sizeof *added);
  added->slot = slot;
  return added;
}

/* The slots from first_slot on that have files: once each, with the number of their last CSV in base. */
static void list_files(const char *folder, int32 first_slot, list *to) {
  int from = to->count;
  DIR *dir = opendir(folder);
  if (dir == NULL) return;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int32 slot;
    uint64 file;
    if (!prof_ring_parse_name(entry->d_name, &slot, &file) || slot < first_slot) continue;
    add(to, slot)->at.base = file;
  }
  closedir(dir);
  if (to->count - from > 1) qsort(to->slots + from, (size_t)(to->count - from), sizeof *to->slots, by_slot);
  int kept = from;
  for (int i = from; i < to->count; i++) {
    if (kept > from && to->slots[kept - 1].slot == to->slots[i].slot)
      to->slots[kept - 1].at.base = Max(to->slots[kept - 1].at.base, to->slots[i].at.base);
    else
      to->slots[kept++] = to->slots[i];
  }
  to->count = kept;
}

ProfSlotInfo *prof_slots(int64 id, int *count) {
  list found = {NULL, 0, 0};
  char folder[64];
  int place = place_of(id);
  int32 in_memory = 0;
  prof_state_folder(folder, id);
  if (place >= 0) {
    ProfRingState at;
    in_memory = prof_shared->slot_count;
    for (int32 slot = 0; slot < in_memory; slot++)
      if (look(&prof_shared->slots[slot].lines[place], id, &at)) add(&found, slot)->at = at;
  }
  int from = found.count;
  if (place < 0 || prof_shared->traces[place].more_slots) list_files(folder, in_memory, &found);
  for (int i = from; i < found.count; i++) {
    ProfSlotInfo *info = &found.slots[i];
    uint64 file = info->at.base;
    if (prof_ring_settle(folder, (int32)id, info->slot, PROF_SETTLE_LOOK, &info->at) != 0)
      look_at_csv(folder, info->slot, file, &info->at);
  }
  *count = found.count;
  return found.slots;
}

bool prof_slot(int64 id, int32 slot, ProfRingState *at, ProfLine **line) {
  char folder[64];
  int place = place_of(id);
  *line = NULL;
  if (slot < 0 || slot > 999999) return false;
  if (place >= 0 && slot < prof_shared->slot_count) {
    *line = &prof_shared->slots[slot].lines[place];
    return look(*line, id, at);
  }
  prof_state_folder(folder, id);
  if (prof_ring_settle(folder, (int32)id, slot, PROF_SETTLE_LOOK, at) == 0) return true;
  list found = {NULL, 0, 0};
  list_files(folder, slot, &found);
  bool there = found.count > 0 && found.slots[0].slot == slot && found.slots[0].at.base > 0;
  if (there) look_at_csv(folder, slot, found.slots[0].at.base, at);
  if (found.slots != NULL) pfree(found.slots);
  return there;
}
