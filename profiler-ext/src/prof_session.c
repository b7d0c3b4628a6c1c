/*
 * The running traces as this backend sees them; see prof_trace.h. In: the shared table, when its generation changes. Out:
 * prof_traces and the masks. Runs inside other people's hooks, so it allocates nothing, throws nothing and reads no
 * catalog where that could go wrong.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "prof_port.h"
#include "prof_session.h"
#include "prof_shared.h"

#if PG_VERSION_NUM < 170000
#define PROF_NUMBER_OF(proc) ((proc)->pgprocno)
#else
#define PROF_NUMBER_OF(proc) GetNumberFromPGProc(proc)
#endif

ProfTrace prof_traces[PROF_TRACE_BITS];
uint32 prof_match_mask;
uint32 prof_owned_mask;
uint32 prof_live_mask;
int64 prof_next_deadline_us = PG_INT64_MAX;
ProfSlot *prof_my_slot;
uint32 prof_table_generation;
uint32 prof_generation_seen;

/* Where the library was not preloaded there never is a trace: both stay 0. */
static pg_atomic_uint32 no_generation;
pg_atomic_uint32 *prof_generation = &no_generation;

/* What is at each place of the shared table. */
typedef struct place {
  int64 id; /* 0: nothing */
  int bit;
  int64 deadline_us;
  bool volatile_filters; /* may match later in the same session */
} place;

static place places[PROF_MAX_RUNNING];
static int next_bit;
static bool reads_traces;
static bool gone; /* the slot was given back */

/* What was matched: looked at again when it changes. */
static Oid matched_user;
static char matched_application[NAMEDATALEN];
static char session_user[NAMEDATALEN];
static char session_database[NAMEDATALEN];

int64 prof_now_us(void) {
  return GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void let_slot_go(int code, Datum argument) {
  gone = true;
  prof_match_mask = prof_live_mask = 0;
  for (int i = 0; i < PROF_MAX_RUNNING; i++) {
    if (places[i].id == 0) continue;
    bool finished = pg_atomic_read_u64(&prof_shared->traces[i].stop) != prof_stop_word(places[i].id, PROF_STOP_NONE);
    prof_sink_end(places[i].bit, finished);
    places[i].id = 0;
  }
  pg_memory_barrier();
  pg_atomic_write_u32(&prof_my_slot->pid, 0);
}

/*
 * Says that this process may write to its slot's files. Who stops a trace looks at this after raising the generation; we
 * set it before reading the generation: either it is seen, or the trace is seen to have ended.
 */
static bool attach(void) {
  if (prof_my_slot != NULL) return true;
  if (MyProc == NULL || gone) return false;
  int number = PROF_NUMBER_OF(MyProc);
  if (number < 0 || number >= prof_shared->slot_count) return false;
  prof_my_slot = &prof_shared->slots[number];
  memset(prof_my_slot->root_ids, 0, sizeof prof_my_slot->root_ids);
  pg_atomic_write_u32(&prof_my_slot->pid, (uint32)MyProcPid);
  pg_memory_barrier();
  on_shmem_exit(let_slot_go, (Datum)0);
  return true;
}

int prof_my_slot_number(void) { return (int)(prof_my_slot - prof_shared->slots); }

/* May catalogs be read here? Not while an error is on its way, nor under a lock. */
static bool may_read_catalogs(void) {
  return IsTransactionState() && InterruptHoldoffCount == 0 && CritSectionCount == 0;
}

/* Names of this session; "" where one cannot be known yet. */
static void learn_session(void) {
  matched_user = GetSessionUserId();
  strlcpy(matched_application, application_name != NULL ? application_name : "", sizeof matched_application);
  session_user[0] = 0;
  if (MyProcPort != NULL && MyProcPort->user_name != NULL && matched_user == GetAuthenticatedUserId()) {
    strlcpy(session_user, MyProcPort->user_name, sizeof session_user);
  } else {
    /* The setting's value is the role's name, and costs no catalog. */
    const char *name = GetConfigOption("session_authorization", true, false);
    if (name != NULL) strlcpy(session_user, name, sizeof session_user);
  }
  if (session_database[0] != 0) return;
  if (MyProcPort != NULL && MyProcPort->database_name != NULL) {
    strlcpy(session_database, MyProcPort->database_name, sizeof session_database);
  } else if (OidIsValid(MyDatabaseId) && may_read_catalogs()) {
    char *name = get_database_name(MyDatabaseId);
    if (name != NULL) {
      strlcpy(session_database, name, sizeof session_database);
      pfree(name);
    }
  }
}

static bool in_network(const char *text) {
  const struct sockaddr_storage *from = &MyProcPort->raddr.addr;
  char address[PROF_NAME_BYTES];
  unsigned char wanted[16], is[16];
  strlcpy(address, text, sizeof address);
  char *slash = strchr(address, '/');
  int bits = slash != NULL ? atoi(slash + 1) : 128;
  if (slash != NULL) *slash = 0;
  int bytes = from->ss_family == AF_INET6 ? 16 : 4;
  if (from->ss_family == AF_INET)
    memcpy(is, &((const struct sockaddr_in *)from)->sin_addr, 4);
  else if (from->ss_family == AF_INET6)
    memcpy(is, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
  else
    return false;
  if (inet_pton(from->ss_family, address, wanted) != 1) return false;
  if (bits > bytes * 8) bits = bytes * 8;
  if (memcmp(is, wanted, (size_t)(bits / 8)) != 0) return false;
  int rest = bits % 8;
  return rest == 0 || (is[bits / 8] ^ wanted[bits / 8]) >> (8 - rest) == 0;
}

static bool is_client(const char *text) {
  if (MyProcPort == NULL) return false;
  if (strcmp(text, "[local]") == 0) return MyProcPort->raddr.addr.ss_family == AF_UNIX;
  return in_network(text);
}

/* Each kind of filter that is there must have one that holds. */
static bool matches(const ProfRecord *record) {
  unsigned there = 0, holds = 0;
  size_t at = 0;
  for (const char *filter; (filter = prof_record_next_filter(record, &at)) != NULL;) {
    const char *text = filter + 1;
    switch (*filter) {
    case PROF_FILTER_DATABASE:
      there |= 1;
      if (strcmp(text, session_database) == 0) holds |= 1;
      break;
    case PROF_FILTER_USER:
      there |= 2;
      if (strcmp(text, session_user) == 0) holds |= 2;
      break;
    case PROF_FILTER_APPLICATION:
      there |= 4;
      if (strcmp(text, matched_application) == 0) holds |= 4;
      break;
    default:
      there |= 8;
      if ((holds & 8) == 0 && is_client(text)) holds |= 8;
      break;
    }
  }
  return there == holds && (!record->own_only || (Oid)record->owner == matched_user);
}

/* A trace's bit, taken in turn so that an old mask does not mean a new trace. */
static int take_bit(void) {
  do {
    next_bit = (next_bit + 1) % PROF_TRACE_BITS;
  } while (prof_traces[next_bit].id != 0);
  return next_bit;
}

static void end_place(int index) {
  int bit = places[index].bit;
  prof_sink_end(bit, true);
  memset(&prof_traces[bit], 0, sizeof prof_traces[bit]);
  places[index].id = 0;
}

static void begin_place(int index, const ProfRecord *record) {
  int bit = take_bit();
  ProfTrace *trace = &prof_traces[bit];
  places[index].id = record->id;
  places[index].bit = bit;
  places[index].deadline_us = record->deadline_us > 0 ? record->deadline_us : PG_INT64_MAX;
  trace->id = (int32)record->id;
  trace->owner = record->own_only ? (Oid)record->owner : InvalidOid;
  trace->kinds = (uint32)record->kinds;
  trace->options = (uint32)record->options;
  trace->sample_threshold = (uint32)record->sample_threshold;
  trace->min_us = record->min_us;
  trace->plan_min_us = record->plan_min_us;
  trace->max_query_bytes = (int32)record->max_query_bytes;
  trace->max_params_bytes = (int32)record->max_params_bytes;
  trace->max_plan_bytes = (int32)record->max_plan_bytes;
  trace->max_error_bytes = (int32)record->max_error_bytes;
  prof_sink_begin(bit, index, record);
}

/* A parallel worker's traces are its leader's: it has no client and may have no application of its own. */
static bool leader_matches(int64 id) {
  PGPROC *leader = MyProc->lockGroupLeader;
  if (leader == NULL || leader == MyProc) return false;
  int number = PROF_NUMBER_OF(leader);
  if (number < 0 || number >= prof_shared->slot_count) return false;
  const ProfSlot *slot = &prof_shared->slots[number];
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    if (slot->root_ids[i] == id) return true;
  return false;
}

static void look_at(int index, const ProfRecord *record, bool running) {
  place *here = &places[index];
  if (here->id != 0 && (!running || here->id != record->id)) end_place(index);
  if (!running) return;
  if (here->id == 0) begin_place(index, record);
  prof_traces[here->bit].matches = IsParallelWorker() ? leader_matches(record->id) : matches(record);
  here->volatile_filters = !IsParallelWorker() && (record->own_only || prof_record_has_filter(record, PROF_FILTER_USER) ||
                           prof_record_has_filter(record, PROF_FILTER_APPLICATION) ||
                           (session_database[0] == 0 && prof_record_has_filter(record, PROF_FILTER_DATABASE)));
}

/* One consistent copy of a place: false where something changed meanwhile. */
static bool copy_place(int index, uint32 generation, ProfRecord *record, bool *running) {
  ProfSharedTrace *trace = &prof_shared->traces[index];
  *running = prof_running(trace);
  if (*running) memcpy(record, &trace->record, sizeof *record);
  pg_read_barrier();
  return pg_atomic_read_u32(prof_generation) == generation;
}

/* incomplete: not all could be copied, ask again at once. */
static void set_masks(uint32 generation, bool incomplete) {
  bool again = incomplete;
  prof_match_mask = prof_owned_mask = prof_live_mask = 0;
  prof_next_deadline_us = PG_INT64_MAX;
  for (int i = 0; i < PROF_MAX_RUNNING; i++) {
    if (places[i].id == 0) continue;
    uint32 bit = UINT32_C(1) << places[i].bit;
    again |= places[i].volatile_filters;
    if (reads_traces || !prof_enabled || gone) continue;
    prof_live_mask |= bit;
    if (prof_traces[places[i].bit].matches) prof_match_mask |= bit;
    if (OidIsValid(prof_traces[places[i].bit].owner)) prof_owned_mask |= bit;
    if (places[i].deadline_us < prof_next_deadline_us) prof_next_deadline_us = places[i].deadline_us;
  }
  prof_table_generation = incomplete ? 0 : generation;
  prof_generation_seen = again ? 0 : generation;
}

static bool session_is_as_matched(void) {
  const char *application = application_name != NULL ? application_name : "";
  if (session_database[0] == 0 && may_read_catalogs()) return false;
  return GetSessionUserId() == matched_user && strncmp(application, matched_application, NAMEDATALEN - 1) == 0;
}

/* Is anybody logged in yet? The functions that name the session's user may not be asked before. */
static bool session_began(void) {
  Oid user;
  int context;
  GetUserIdAndSecContext(&user, &context);
  return MyProc != NULL && OidIsValid(user);
}

void prof_refresh(void) {
  static ProfRecord record;
  uint32 generation = pg_atomic_read_u32(prof_generation);
  /* First what each statement asks where a trace has filters that a session can come to match. */
  if (likely(generation == prof_table_generation && generation != 0 && session_is_as_matched())) return;
  if (prof_shared == NULL || !session_began()) return;
  bool any = false, incomplete = false;
  for (int i = 0; i < PROF_MAX_RUNNING; i++) any |= places[i].id != 0 || prof_running(&prof_shared->traces[i]);
  if (any && !attach()) any = false;
  generation = pg_atomic_read_u32(prof_generation);
  pg_read_barrier();
  /* While the table changes, what was known holds; this is asked again at once. */
  if (generation & 1) return;
  if (any) {
    learn_session();
    for (int i = 0; i < PROF_MAX_RUNNING; i++) {
      bool running;
      if (copy_place(i, generation, &record, &running))
        look_at(i, &record, running);
      else
        incomplete = true;
    }
  }
  set_masks(generation, incomplete);
}

void prof_session_changed(void) { prof_table_generation = prof_generation_seen = 0; }

void prof_session_reads(void) {
  reads_traces = true;
  prof_match_mask = prof_live_mask = 0;
}

void prof_request_stop(int index, int64 id, uint32 reason) {
  ProfSharedTrace *trace = &prof_shared->traces[index];
  uint64 word = prof_stop_word(id, PROF_STOP_NONE);
  if (!pg_atomic_compare_exchange_u64(&trace->stop, &word, prof_stop_word(id, reason))) return;
  pg_atomic_write_u64(&trace->stopped_us, (uint64)prof_now_us());
  /* By two: who holds the lock makes it odd meanwhile. */
  pg_atomic_fetch_add_u32(prof_generation, 2);
}

uint32 prof_allowed_slow(uint32 mask) {
  Oid user;
  int context;
  GetUserIdAndSecContext(&user, &context);
  for (uint32 left = mask & prof_owned_mask; left != 0; left &= left - 1) {
    int bit = __builtin_ctz(left);
    if (prof_traces[bit].owner != user) mask &= ~(UINT32_C(1) << bit);
  }
  return mask;
}

void prof_root_publish(uint32 mask, int64 serial) {
  if (prof_my_slot == NULL) return;
  for (int i = 0; i < PROF_MAX_RUNNING; i++)
    prof_my_slot->root_ids[i] =
        places[i].id != 0 && (mask & UINT32_C(1) << places[i].bit) != 0 ? (int32)places[i].id : 0;
  prof_my_slot->root_serial = serial;
  pg_write_barrier();
}

bool prof_leader_root(uint32 *mask, int64 *serial) {
  if (prof_shared == NULL || !IsParallelWorker()) return false;
  *mask = prof_match_mask;
  PGPROC *leader = MyProc->lockGroupLeader;
  int number = leader == NULL ? -1 : PROF_NUMBER_OF(leader);
  if (*mask == 0 || number < 0 || number >= prof_shared->slot_count) return false;
  *serial = prof_shared->slots[number].root_serial;
  return true;
}
