/** What index advice is told to do, and how it tells of its progress. What goes in and comes out stands in src/wire/advice.ts. */
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
