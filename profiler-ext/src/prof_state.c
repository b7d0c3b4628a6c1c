/*
 * State on disk: one file per trace in sql_profiler/pgsql_tmp_state, and what the server does with it when it starts. In:
 * records. Out: files, each replaced by a rename so that it is whole at any time. All below the data directory under names
 * that pg_basebackup, pg_rewind and the like leave out, so that no copy of a server carries a trace.
 *
 * Nothing throws: it runs in the postmaster too, where an error would end the server. A state file that cannot be read is
 * left where it is, named in the log, and its id is never given again.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "csv_columns.h"
#include "prof_shared.h"

#define STATE_FOLDER PROF_FOLDER "/pgsql_tmp_state"
#define LAST_ID_FILE STATE_FOLDER "/last_id"
#define DROPPED_PREFIX "pgsql_tmp_dropped_"

static void state_path(char *path, int64 id) { snprintf(path, MAXPGPATH, STATE_FOLDER "/trace_%lld", (long long)id); }

void prof_state_folder(char *path, int64 id) { snprintf(path, 64, PROF_FOLDER "/pgsql_tmp_%lld", (long long)id); }

/* "<prefix><id>" and nothing behind it. */
static bool id_of(const char *name, const char *prefix, int32 *id) {
  size_t length = strlen(prefix);
  if (strncmp(name, prefix, length) != 0 || name[length] < '1' || name[length] > '9') return false;
  char *end;
  errno = 0;
  long number = strtol(name + length, &end, 10);
  *id = (int32)number;
  return errno == 0 && *end == 0 && number <= PG_INT32_MAX;
}

static int make_folder(const char *path) { return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : errno; }

static int sync_folder(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (fd < 0) return errno;
  /* Some file systems cannot. */
  int failure = fsync(fd) == 0 || errno == EINVAL || errno == EBADF ? 0 : errno;
  close(fd);
  return failure;
}

/* Puts text in the place of path's contents, whole or not at all. */
static int replace_file(const char *path, const char *text, size_t length) {
  char temporary[MAXPGPATH];
  snprintf(temporary, sizeof temporary, "%s.new", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno;
  int failure = 0;
  ssize_t wrote = write(fd, text, length);
  if (wrote != (ssize_t)length)
    failure = wrote < 0 ? errno : ENOSPC;
  else if (fsync(fd) != 0)
    failure = errno;
  if (close(fd) != 0 && failure == 0) failure = errno;
  if (failure == 0 && rename(temporary, path) != 0) failure = errno;
  if (failure != 0) unlink(temporary);
  return failure != 0 ? failure : sync_folder(STATE_FOLDER);
}

int prof_state_save(const ProfRecord *record) {
  char path[MAXPGPATH];
  char *text = malloc(PROF_RECORD_TEXT_BYTES);
  if (text == NULL) return ENOMEM;
  state_path(path, record->id);
  int failure = replace_file(path, text, prof_record_write(record, text));
  free(text);
  return failure;
}

static int load(const char *path, ProfRecord *record, const char **wrong) {
  *wrong = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return errno;
  int failure = 0;
  char *text = malloc(PROF_RECORD_TEXT_BYTES);
  ssize_t length = text == NULL ? -1 : read(fd, text, PROF_RECORD_TEXT_BYTES);
  if (length < 0)
    failure = text == NULL ? ENOMEM : errno;
  else if ((*wrong = prof_record_read(text, (size_t)length, record)) != NULL)
    failure = EINVAL;
  free(text);
  close(fd);
  return failure;
}

int prof_state_load(int64 id, ProfRecord *record) {
  char path[MAXPGPATH];
  const char *wrong;
  state_path(path, id);
  int failure = load(path, record, &wrong);
  return failure == 0 && record->id != id ? EINVAL : failure;
}

int prof_state_save_last_id(int32 id) {
  char text[32];
  int failure = make_folder(PROF_FOLDER);
  if (failure == 0) failure = make_folder(STATE_FOLDER);
  return failure != 0 ? failure : replace_file(LAST_ID_FILE, text, (size_t)snprintf(text, sizeof text, "%d\n", id));
}

int prof_state_make_folder(int64 id) {
  char path[64];
  prof_state_folder(path, id);
  return mkdir(path, 0700) == 0 ? 0 : errno;
}

/* Frees the room of a ring that a backend may have mapped: never shorter, that would fault under its feet. */
static void punch_all(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PROF_RING_FILE_BYTES);
  close(fd);
}

static void remove_folder(const char *folder) {
  DIR *dir = opendir(folder);
  if (dir == NULL) return;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[MAXPGPATH];
    int32 slot;
    uint64 file;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (prof_ring_parse_name(entry->d_name, &slot, &file) && file == 0) punch_all(path);
    unlink(path);
  }
  closedir(dir);
  rmdir(folder);
}

/* From here on no backend finds the trace's files, and neither does a server that starts. */
int prof_state_hide(int64 id) {
  char path[MAXPGPATH], folder[64], hidden[64];
  prof_state_folder(folder, id);
  snprintf(hidden, sizeof hidden, PROF_FOLDER "/" DROPPED_PREFIX "%lld", (long long)id);
  if (rename(folder, hidden) != 0 && errno != ENOENT) return errno;
  state_path(path, id);
  if (unlink(path) != 0 && errno != ENOENT) return errno;
  return sync_folder(STATE_FOLDER);
}

void prof_state_sweep(void) {
  DIR *dir = opendir(PROF_FOLDER);
  if (dir == NULL) return;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[MAXPGPATH];
    int32 id;
    if (!id_of(entry->d_name, DROPPED_PREFIX, &id)) continue;
    snprintf(path, sizeof path, PROF_FOLDER "/%s", entry->d_name);
    remove_folder(path);
  }
  closedir(dir);
}

static int by_number(const void *a, const void *b) {
  int32 left = *(const int32 *)a, right = *(const int32 *)b;
  return (left > right) - (left < right);
}

/* realloc, since the postmaster asks too. */
static int32 *list_ids(const char *folder, const char *prefix, int *count) {
  int32 *ids = NULL;
  int room = 0;
  *count = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) return NULL;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int32 id;
    if (!id_of(entry->d_name, prefix, &id)) continue;
    if (*count == room) {
      int32 *more = realloc(ids, sizeof *ids * (size_t)(room = room * 2 + 16));
      if (more == NULL) break;
      ids = more;
    }
    ids[(*count)++] = id;
  }
  closedir(dir);
  if (*count > 1) qsort(ids, (size_t)*count, sizeof *ids, by_number);
  return ids;
}

int32 *prof_state_ids(int *count) {
  int32 *found = list_ids(STATE_FOLDER, "trace_", count);
  int32 *ids = palloc(sizeof *ids * (size_t)(*count + 1));
  if (*count > 0) memcpy(ids, found, sizeof *ids * (size_t)*count);
  free(found);
  return ids;
}

typedef void (*ring_seen)(ProfSharedTrace *trace, int32 slot, const ProfRingState *state);

/* Nobody has this slot's files: no process is in it, or who comes sees that the trace has ended (attach, prof_session.c). */
static bool is_free(int32 slot) {
  return slot >= prof_shared->slot_count || pg_atomic_read_u32(&prof_shared->slots[slot].pid) == 0;
}

/*
 * Does `how` to each ring of a folder, and counts rows and what is still in rings. LOOK, which is for traces that have
 * ended, finishes those that nobody has. Files that are no rings are passed by.
 */
static int settle_rings(ProfRecord *record, enum prof_settle how, int *rings, ring_seen each, ProfSharedTrace *trace) {
  char folder[64];
  bool open = false;
  prof_state_folder(folder, record->id);
  DIR *dir = opendir(folder);
  if (dir == NULL) return errno;
  record->rows = record->lost = record->bytes = 0;
  *rings = 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int32 slot;
    uint64 file;
    ProfRingState state;
    if (!prof_ring_parse_name(entry->d_name, &slot, &file) || file != 0) continue;
    enum prof_settle this = how == PROF_SETTLE_LOOK && is_free(slot) ? PROF_SETTLE_FINISH : how;
    int failure = prof_ring_settle(folder, (int32)record->id, slot, this, &state);
    if (failure == ENOENT || failure == EINVAL) continue;
    open |= failure != 0 || state.open || state.committed != state.base;
    ++*rings;
    record->rows += (int64)(state.line - state.lost);
    record->lost += (int64)state.lost;
    record->bytes += (int64)(state.committed - state.base);
    if (each != NULL) each(trace, slot, &state);
  }
  closedir(dir);
  record->settled = !open;
  return 0;
}

/* Adds what lies in CSV files. */
static void count_files(ProfRecord *record) {
  char folder[64];
  prof_state_folder(folder, record->id);
  DIR *dir = opendir(folder);
  record->files = 0;
  if (dir == NULL) return;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[MAXPGPATH];
    int32 slot;
    uint64 file;
    struct stat about;
    if (!prof_ring_parse_name(entry->d_name, &slot, &file) || file == 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (lstat(path, &about) != 0) continue;
    record->files++;
    record->bytes += about.st_size;
  }
  closedir(dir);
}

int prof_state_count(ProfRecord *record) {
  int rings;
  int failure = settle_rings(record, PROF_SETTLE_LOOK, &rings, NULL, NULL);
  count_files(record);
  return failure;
}

/* --- the server's start --- */

/* Of the machine, and of the columns that this library writes, "<27 of the boot's 36 characters>.<hash>". */
void prof_state_boot(char *boot) {
  uint32 hash = 2166136261u;
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? 0 : read(fd, boot, PROF_BOOT_BYTES - 1);
  if (fd >= 0) close(fd);
  boot[length > 0 ? length : 0] = 0;
  boot[strcspn(boot, "\n")] = 0;
  for (const char *at = CSV_HEADER; *at != 0; at++) hash = (hash ^ (unsigned char)*at) * 16777619u;
  length = (ssize_t)strnlen(boot, 27);
  snprintf(boot + length, PROF_BOOT_BYTES - (size_t)length, ".%08x", hash);
}

/* A slot goes on where it was: readers and the next owner find what the last owner published. */
static void publish_slot(ProfSharedTrace *trace, int32 slot, const ProfRingState *state) {
  if (slot >= prof_shared->slot_count) {
    trace->more_slots = true;
    return;
  }
  ProfLine *line = &prof_shared->slots[slot].lines[trace - prof_shared->traces];
  line->committed = state->committed;
  line->base = state->base;
  line->line = state->line;
  line->lost = state->lost;
  line->trace = (int32)trace->record.id;
}

static void continue_trace(ProfSharedTrace *trace, ProfRecord *record, enum prof_settle how) {
  int rings = 0;
  trace->record = *record;
  int failure = settle_rings(record, how, &rings, publish_slot, trace);
  if (failure != 0) elog(LOG, "sql_profiler: trace %d has no folder: %s", (int)record->id, strerror(failure));
  record->bytes = 0;
  count_files(record);
  pg_atomic_init_u64(&trace->csv_bytes, (uint64)record->bytes);
  pg_atomic_init_u32(&trace->rings, (uint32)rings);
  pg_atomic_init_u32(&trace->lost_reason, (uint32)record->lost_reason);
  pg_atomic_init_u64(&trace->stop, prof_stop_word(record->id, PROF_STOP_NONE));
}

static void end_trace(ProfRecord *record, uint32 reason, enum prof_settle how) {
  int rings;
  if (record->state == PROF_STATE_RUNNING) {
    record->stop_reason = reason;
    record->stopped_us = reason == PROF_STOP_DURATION ? record->deadline_us : prof_now_us();
  }
  record->state = PROF_STATE_STOPPED;
  (void)settle_rings(record, how, &rings, NULL, NULL);
  count_files(record);
  int failure = prof_state_save(record);
  if (failure != 0) elog(LOG, "sql_profiler: state of trace %d: %s", (int)record->id, strerror(failure));
}

static void start_one(int32 id, const char *boot) {
  static ProfRecord record;
  char path[MAXPGPATH];
  const char *wrong;
  state_path(path, id);
  int failure = load(path, &record, &wrong);
  if (failure != 0 || record.id != id) {
    elog(LOG, "sql_profiler: \"%s\" is left alone: %s", path, wrong != NULL ? wrong : strerror(failure));
    return;
  }
  /*
   * Was the machine down meanwhile? Then what was in its memory is not all on the disk. Was the library another one? Then
   * rows with its columns would not fit their file's header line. Either way slots begin other files.
   */
  bool same_boot = strcmp(record.boot, boot) == 0;
  enum prof_settle ending = same_boot ? PROF_SETTLE_FINISH : PROF_SETTLE_SALVAGE;
  if (record.state == PROF_STATE_RUNNING) {
    ProfSharedTrace *place = NULL;
    for (int i = PROF_MAX_RUNNING - 1; i >= 0; i--)
      if (prof_shared->traces[i].record.id == 0) place = &prof_shared->traces[i];
    if (record.deadline_us > 0 && record.deadline_us <= prof_now_us()) {
      end_trace(&record, PROF_STOP_DURATION, ending);
    } else if (prof_after_restart == PROF_RESTART_STOP || place == NULL) {
      end_trace(&record, PROF_STOP_RESTART, ending);
    } else {
      if (!same_boot) {
        strlcpy(record.boot, boot, sizeof record.boot);
        failure = prof_state_save(&record);
        if (failure != 0) elog(LOG, "sql_profiler: state of trace %d: %s", id, strerror(failure));
      }
      continue_trace(place, &record, same_boot ? PROF_SETTLE_RELEASE : PROF_SETTLE_SALVAGE);
      return;
    }
  } else if (!record.settled) {
    end_trace(&record, PROF_STOP_NONE, ending);
  }
  pg_atomic_fetch_add_u64(&prof_shared->stopped_bytes, record.bytes);
}

static int32 highest(const char *folder, const char *prefix, int32 than) {
  int count;
  int32 *ids = list_ids(folder, prefix, &count);
  if (count > 0 && ids[count - 1] > than) than = ids[count - 1];
  free(ids);
  return than;
}

static int32 read_last_id(void) {
  char text[32];
  int fd = open(LAST_ID_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  text[length > 0 ? length : 0] = 0;
  long id = strtol(text, NULL, 10);
  return id > 0 && id < PG_INT32_MAX ? (int32)id : 0;
}

void prof_state_startup(void) {
  char boot[PROF_BOOT_BYTES];
  int count;
  prof_state_boot(boot);
  pg_atomic_init_u32(&prof_shared->generation, 2);
  pg_atomic_init_u64(&prof_shared->stopped_bytes, 0);
  prof_state_sweep();
  int32 *ids = list_ids(STATE_FOLDER, "trace_", &count);
  for (int i = 0; i < count; i++) start_one(ids[i], boot);
  free(ids);
  prof_shared->last_id = highest(STATE_FOLDER, "trace_", read_last_id());
  prof_shared->last_id = highest(PROF_FOLDER, "pgsql_tmp_", prof_shared->last_id);
}
