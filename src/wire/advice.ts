/**
 * What goes into index advice and what comes out: plain data, as it travels between an agent and PEM and into JSON output.
 * A newer side may add fields.
 */

/** A statement of a trace: one of the texts of those that differ in literals alone, and what they came to together. */
export interface WorkStatement {
  /** Whatever names it where it comes from. */
  readonly id: string;
  readonly text: string;
  /** Only the beginning of the text is there. */
  readonly cut: boolean;
  readonly user: string | null;
  /** Called by another one: names that its text has and no table knows may be variables of a function. */
  readonly nested?: boolean;
  readonly calls: number;
  readonly execUs: number;
}

/** What an index does for a statement. Costs are the planner's units, with all advised indexes there. */
export interface StatementGain {
  readonly id: string;
  readonly costBefore: number;
  readonly costAfter: number;
  /** Of the trace's time: what the statement takes now. */
  readonly share: number;
}

export interface Overlap {
  readonly index: string;
  readonly definition: string;
  /** redundant: the new index does all it does · prefix: it begins with the same columns · same_columns: in another order */
  readonly how: 'redundant' | 'prefix' | 'same_columns';
}

export interface AdvisedIndex {
  readonly name: string;
  readonly table: string;
  readonly columns: readonly string[];
  readonly include: readonly string[];
  readonly where: string | null;
  /** To be run in this order, outside a transaction. */
  readonly create: readonly string[];
  readonly sizeBytes: number;
  /** Of the workload's time, by the planner's estimate: what all advised indexes with this one save beyond those before it. */
  readonly gain: number;
  readonly statements: readonly StatementGain[];
  readonly overlaps: readonly Overlap[];
  readonly tableIndexes: number;
  /** Calls of the trace that write to the table, and their part of the workload's time. */
  readonly writeCalls: number;
  readonly writeShare: number;
  readonly warnings: readonly string[];
}

export interface StatementAdvice {
  readonly id: string;
  readonly costBefore: number;
  readonly costAfter: number;
  readonly share: number;
  /** Planned without its parameters' values. */
  readonly generic: boolean;
  /** Planned as the SELECT that finds its rows. */
  readonly asSelect: boolean;
  /** Indexes there are that its plan uses. */
  readonly uses: readonly string[];
}

export interface SkippedStatement {
  readonly id: string;
  readonly share: number;
  readonly code: 'refused' | 'not_permitted' | 'unknown_object' | 'failed' | 'not_reached';
  readonly reason: string;
}

export interface DatabaseAdvice {
  readonly form: 'pem-index-advice';
  readonly version: 1;
  /** Nothing here was measured: costs and sizes are the planner's and hypopg's estimates. */
  readonly estimate: true;
  readonly database: string;
  readonly serverVersion: number;
  readonly hypopg: string;
  readonly indexes: readonly AdvisedIndex[];
  readonly statements: readonly StatementAdvice[];
  readonly skipped: readonly SkippedStatement[];
  readonly notes: readonly string[];
  readonly plans: number;
  readonly elapsedMs: number;
  /** False: time was over before all was tried. */
  readonly complete: boolean;
}

/** A statement with the database that it ran in. */
export interface TracedStatement extends WorkStatement {
  readonly database: string;
  /** What PEM's pages call it; the agent makes nothing of it. */
  readonly key?: string;
}

/** What PEM asks of an agent, as payload of the command advise_indexes. */
export interface AdviceRequest {
  /** Of this request: an agent that gets it twice does it once. */
  readonly token: string;
  readonly targetId: number;
  readonly traceId: number;
  readonly run: string;
  /** Statements were chosen, one by one. */
  readonly isChosen?: boolean;
  /** Of the trace's statements that no other called. */
  readonly totalUs: number;
  readonly mostIndexes: number;
  /** For each database, ms. */
  readonly timeMs: number;
  readonly statements: readonly TracedStatement[];
}

/** What the agent answers. */
export interface AdviceAnswer {
  readonly databases: readonly DatabaseAdvice[];
  readonly failures: readonly AdviceFailure[];
}

/** A database in which nothing could be asked. */
export interface AdviceFailure {
  readonly database: string;
  readonly code: string;
  readonly reason: string;
}
