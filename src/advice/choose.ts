/**
 * The few indexes out of many candidates. In: statements with their plans as they are, candidates for each, a planner that can
 * be asked again with hypothetical indexes there. Out: the chosen ones, in the order in which they pay, and every
 * statement's plan with all of them. Ends when its time is over or it is told to; what was chosen until then is the answer.
 *
 * What is compared: the workload's time, each statement's own in the trace times what the planner says its cost becomes. A
 * statement that takes half of the time and becomes ten times cheaper gains 0.45.
 *
 * 1. All candidates of a statement are there at once; those that its plan uses go on, with those of the same columns.
 * 2. The index that leaves the least time is taken; among those that leave hardly more, the smallest. Again, until nothing
 *    gains enough. What a candidate gained in an earlier round is the most it can gain in a later one.
 * 3. What the others have made superfluous goes. Then INCLUDE and WHERE are tried on what is left, and kept only where
 *    they clearly pay.
 */
import { type Candidate, candidateId, distinctOf, shorter } from './candidates.js';
import type { AdviceOptions, AdviceProgress } from './model.js';
import type { PlanFacts } from './plan.js';
import { type Need, variants } from './variants.js';

/** A hypothetical index that is there now. */
export interface Made {
  readonly candidate: Candidate;
  /** Names under which plans show it: one for each table that holds rows. */
  readonly names: ReadonlySet<string>;
  readonly bytes: number;
}

export interface Planner {
  /** undefined: the server does not take such an index. */
  create(candidate: Candidate): Promise<Made | undefined>;
  drop(made: Made): Promise<void>;
  /** undefined: no plan this time (a lock, a time limit). */
  plan(statement: Planned): Promise<PlanFacts | undefined>;
  readonly plans: number;
}

export interface Planned {
  readonly id: string;
  /** Of the workload's time. */
  readonly share: number;
  readonly before: PlanFacts;
  readonly candidates: readonly Candidate[];
  /** Oids of the tables it reads. */
  readonly tables: ReadonlySet<string>;
}

export interface Chosen {
  readonly made: Made;
  /** Of the workload's time, beyond what was chosen before. */
  readonly gain: number;
}

export interface Choice {
  readonly chosen: readonly Chosen[];
  readonly after: ReadonlyMap<string, PlanFacts>;
  readonly complete: boolean;
}

/** An index is smaller and leaves at most so much more of the time of the statements that it serves: it is taken. */
const hardlyMore = 1.3;
const mostPool = 150;
/** What a new index costs each statement that writes to its table, as a part of that statement's time. An assumption. */
export const writePenalty = 0.05;

interface Round {
  readonly candidate: Candidate;
  readonly statements: readonly Planned[];
  /** Of the workload's time. */
  gain: number;
  /** The time that its statements take with it. */
  left: number;
  bytes: number;
  used: boolean;
}

export async function chooseIndexes(
  statements: readonly Planned[],
  planner: Planner,
  options: AdviceOptions,
  writeShareOf: (tableOid: string) => number,
): Promise<Choice> {
  const endMs = performance.now() + options.timeMs;
  let complete = true;
  const over = (): boolean => {
    const ended = performance.now() > endMs || options.signal?.aborted === true;
    if (ended) complete = false;
    return ended;
  };
  const tell = (step: AdviceProgress['step'], done: number, total: number): void =>
    options.onProgress?.({ step, done, total, plans: planner.plans });
  const costs = new Map(statements.map((one) => [one.id, one.before.cost]));
  const ratio = (one: Planned, cost: number): number => one.share * (cost / Math.max(one.before.cost, 1e-9));
  const now = (one: Planned): number => ratio(one, costs.get(one.id) ?? one.before.cost);

  const pool = await usefulCandidates();
  const chosen: Chosen[] = [];
  let rounds: Round[] = pool.map((candidate) => ({
    candidate,
    statements: statements.filter(({ tables }) => tables.has(candidate.table.oid)),
    gain: Number.POSITIVE_INFINITY,
    left: 0,
    bytes: 0,
    used: false,
  }));
  while (chosen.length < options.mostIndexes && rounds.length > 0 && !over()) {
    const best = await bestOf(rounds);
    if (best === undefined) break;
    const made = await planner.create(best.candidate);
    if (made === undefined) break;
    chosen.push({ made, gain: best.gain });
    await refresh(best.statements);
    rounds = rounds.filter((round) => round !== best);
    tell('choosing', chosen.length, options.mostIndexes);
  }
  await dropSuperfluous();
  await refine();
  const after = new Map<string, PlanFacts>();
  for (const one of statements) after.set(one.id, (await planner.plan(one)) ?? one.before);
  return { chosen, after, complete };

  /** Step 1. */
  async function usefulCandidates(): Promise<Candidate[]> {
    const found = new Map<string, { candidate: Candidate; weight: number; last: string }>();
    for (const [i, one] of statements.entries()) {
      tell('trying', i, statements.length);
      if (over()) break;
      const made: Made[] = [];
      for (const candidate of one.candidates) {
        const index = await planner.create(candidate);
        if (index !== undefined) made.push(index);
      }
      const plan = made.length === 0 ? undefined : await planner.plan(one);
      for (const index of made) {
        if (plan === undefined || plan.cost >= one.before.cost || !uses(plan, index)) continue;
        for (const candidate of family(index.candidate, one.candidates)) {
          const id = candidateId(candidate);
          const known = found.get(id) ?? { candidate, weight: 0, last: '' };
          const weight = known.last === one.id ? known.weight : known.weight + one.share;
          found.set(id, { candidate, weight, last: one.id });
        }
      }
      for (const index of made) await planner.drop(index);
    }
    return [...found.values()]
      .sort((a, b) => b.weight - a.weight)
      .slice(0, mostPool)
      .map(({ candidate }) => candidate);
  }

  /** What the statements take with an index beside those chosen. */
  async function evaluate(round: Round): Promise<void> {
    const made = await planner.create(round.candidate);
    if (made === undefined) {
      round.gain = Number.NEGATIVE_INFINITY;
      return;
    }
    let gain = 0;
    let left = 0;
    let used = false;
    for (const one of round.statements) {
      const plan = await planner.plan(one);
      const uses_ = plan !== undefined && uses(plan, made);
      const cost = uses_
        ? Math.min(plan.cost, costs.get(one.id) ?? plan.cost)
        : (costs.get(one.id) ?? one.before.cost);
      used ||= uses_;
      gain += now(one) - ratio(one, cost);
      left += ratio(one, cost);
    }
    await planner.drop(made);
    round.gain = gain - writePenalty * writeShareOf(round.candidate.table.oid);
    round.left = left;
    round.bytes = made.bytes;
    round.used = used;
  }

  /** Step 2. */
  async function bestOf(all: Round[]): Promise<Round | undefined> {
    const fresh: Round[] = [];
    all.sort((a, b) => b.gain - a.gain);
    for (const [i, round] of all.entries()) {
      tell('choosing', i, all.length);
      if (over()) break;
      const most = Math.max(...fresh.map(({ gain }) => gain), options.leastGain);
      // An older figure that is below what another one gains now cannot win; close ones may be smaller.
      if (round.gain < most / hardlyMore) break;
      await evaluate(round);
      fresh.push(round);
    }
    const best = fresh.reduce<Round | undefined>(
      (a, b) => (a === undefined || b.gain > a.gain ? b : a),
      undefined,
    );
    if (best === undefined || !best.used || best.gain < options.leastGain) return undefined;
    const table = best.candidate.table.oid;
    return fresh
      .filter(
        (round) =>
          round.candidate.table.oid === table &&
          round.used &&
          round.gain >= options.leastGain &&
          round.left <= best.left * hardlyMore,
      )
      .reduce((a, b) => (isSmaller(b, a) ? b : a), best);
  }

  async function refresh(of: readonly Planned[]): Promise<void> {
    for (const one of of) {
      const plan = await planner.plan(one);
      if (plan !== undefined) costs.set(one.id, plan.cost);
    }
  }

  /** The time of all with what is chosen now, and which statements' plans use an index. */
  async function total(of: readonly Planned[]): Promise<number> {
    let sum = 0;
    for (const one of of)
      sum += ratio(one, (await planner.plan(one))?.cost ?? costs.get(one.id) ?? one.before.cost);
    return sum;
  }

  /** Step 3, first half. */
  async function dropSuperfluous(): Promise<void> {
    for (let i = chosen.length - 2; i >= 0; i--) {
      const one = chosen[i] as Chosen;
      const touched = statements.filter(({ tables }) => tables.has(one.made.candidate.table.oid));
      const withIt = await total(touched);
      await planner.drop(one.made);
      const without = await total(touched);
      if (without - withIt < options.leastGain) chosen.splice(i, 1);
      else {
        const again = await planner.create(one.made.candidate);
        if (again === undefined) chosen.splice(i, 1);
        else chosen[i] = { made: again, gain: one.gain };
      }
    }
    await refresh(statements);
  }

  /** Step 3, second half. */
  async function refine(): Promise<void> {
    for (let i = 0; i < chosen.length && !over(); i++) {
      tell('refining', i, chosen.length);
      let current = chosen[i] as Chosen;
      const touched = statements.filter(({ tables }) => tables.has(current.made.candidate.table.oid));
      const needs: Need[] = [];
      let before = 0;
      for (const one of touched) {
        const plan = await planner.plan(one);
        before += ratio(one, plan?.cost ?? one.before.cost);
        if (plan !== undefined && uses(plan, current.made)) needs.push({ plan, names: current.made.names });
      }
      for (const variant of variants(current.made.candidate, needs)) {
        if (over()) break;
        await planner.drop(current.made);
        const made = await planner.create(variant.candidate);
        const after = made === undefined ? Number.POSITIVE_INFINITY : await total(touched);
        if (
          made !== undefined &&
          after <= before * variant.mostTime &&
          made.bytes <= current.made.bytes * variant.mostSize
        ) {
          current = { made, gain: current.gain + before - after };
          before = after;
        } else {
          if (made !== undefined) await planner.drop(made);
          const again = await planner.create(current.made.candidate);
          if (again === undefined) throw new Error('a hypothetical index could not be made a second time');
          current = { made: again, gain: current.gain };
        }
        chosen[i] = current;
      }
    }
  }
}

/** It, and what is made of the same columns or fewer of them: of equal ones the planner took any. */
function family(candidate: Candidate, all: readonly Candidate[]): Candidate[] {
  const columns = new Set(candidate.keys.map(({ sql }) => sql));
  const like = all.filter(
    ({ table, keys }) => table === candidate.table && keys.every(({ sql }) => columns.has(sql)),
  );
  return [candidate, ...shorter(candidate), ...like];
}

const uses = (plan: PlanFacts, made: Made): boolean => [...made.names].some((name) => plan.indexes.has(name));

/** Of two of one size the one with fewer columns is smaller, then the one whose first column tells more rows apart. */
function isSmaller(a: Round, b: Round): boolean {
  if (Math.abs(a.bytes - b.bytes) > 0.02 * b.bytes) return a.bytes < b.bytes;
  const [keysA, keysB] = [a.candidate.keys, b.candidate.keys];
  if (keysA.length !== keysB.length) return keysA.length < keysB.length;
  return distinctOf(keysA[0], a.candidate.table) > distinctOf(keysB[0], b.candidate.table);
}
