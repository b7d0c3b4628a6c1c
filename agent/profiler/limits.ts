/** Bounds of following traces: what a monitored server, the agent's memory and the spool are spared from. */
export const followLimits = {
  /** Between two looks at a trace that brings rows, and at one that does not, ms. */
  busyPollMs: 250,
  idlePollMs: 1000,
  /** Between two looks at the list of traces, ms. */
  listMs: 1000,
  /** Bytes asked for at once, and slots among which they are divided; a row that is longer comes whole all the same. */
  readBytes: 4 * 1024 * 1024,
  readSlots: 64,
  /** Reading takes at most this share of a backend's time on the server. */
  readShare: 0.25,
  /** Unread bytes beyond which the agent goes on at the end and counts what it left out. */
  mostLagBytes: 256 * 1024 * 1024,
  /** Where PEM lacks more of the spool's room than this, events stay behind and aggregates alone travel. */
  eventsBacklogShare: 0.25,
  /** Statements that each interval tells apart; the rest is one row. */
  statements: 1000,
  /** Texts remembered as sent, and how long. */
  textsRemembered: 50_000,
  textsAgainMs: 24 * 3600 * 1000,
  /** Texts are cut to so many bytes: of an event, of a normalised statement. */
  eventTextBytes: 8192,
  statementTextBytes: 4096,
  /** Bytes of one block. */
  blockBytes: 1024 * 1024,
  /** A run that has ended is read until nothing new came for so long, ms. */
  settleMs: 1500,
  /** After an error that needs an operator, ms. */
  refusedRetryMs: 30_000,
  /** After another one, doubled each time up to the second. */
  unreachableRetryMs: 1000,
  longestRetryMs: 10_000,
  /** Counts travel to PEM at most this often, ms. */
  reportMs: 5000,
} as const;

export type FollowLimits = { readonly [name in keyof typeof followLimits]: number };
