/** What goes into index advice and what comes out: plain data, as it travels from an agent to PEM and into JSON output. */

/** A statement of a trace: one of the texts of those that differ in literals alone, and what they came to together. */
export interface WorkStatement {
  /** Whatever names it where it comes from. */
  readonly id: string;
  readonly text: string;
  /** Only the beginning of the text is there. */
  readonly cut: boolean;
  readonly user: string | null;
  readonly calls: number;
  readonly execUs: number;
}

export interface AdviceOptions {
  /** Most indexes advised for one database. */
  readonly mostIndexes: number;
  /** Execution time of the whole trace, of which shares are told; default: the sum of the statements'. */
  readonly totalUs?: number;
  /** Time for one database, all plans together, ms. */
  readonly timeMs: number;
  /** An index must save so large a part of the workload's time, by the planner's estimate. */
  readonly leastGain: number;
  /** Instead of what roles and databases have set. */
  readonly searchPath?: string;
  /**
   * Also as a role that could harm the server. While it plans, the server evaluates functions that are marked IMMUTABLE or
   * STABLE; whoever wrote a statement of the trace may have written such a function too.
   */
  readonly trustStatements?: boolean;
  readonly onProgress?: (progress: AdviceProgress) => void;
  /** Ends the work; what was found until then is the answer. */
  readonly signal?: AbortSignal;
}

export const adviceDefaults = {
  mostIndexes: 5,
  mostStatements: 50,
  timeMs: 60_000,
  leastGain: 0.01,
} as const;

export interface AdviceProgress {
  readonly step: 'planning' | 'trying' | 'choosing' | 'refining';
  readonly done: number;
  readonly total: number;
  /** Plans asked of the server so far. */
  readonly plans: number;
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
