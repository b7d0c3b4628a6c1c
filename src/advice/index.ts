/**
 * Index advice for the statements of a trace, of one database. In: a connection to it, statements with their weights. Out: the
 * few hypothetical indexes that lower the planner's costs, with everything that is known for and against them; or a coded
 * error that tells what is missing. Nothing is changed on the server and no statement is run; see session.ts.
 */
import type {
  AdvisedIndex,
  DatabaseAdvice,
  SkippedStatement,
  StatementAdvice,
  WorkStatement,
} from '../wire/advice.js';
import { type Candidate, candidatesFor, createSql, keysSql, type TableInfo } from './candidates.js';
import { type Choice, chooseIndexes, type Made, type Planned, type Planner } from './choose.js';
import { createLines, overlapsOf, warningsOf } from './ddl.js';
import { nameSql } from './lexer.js';
import type { AdviceOptions } from './model.js';
import type { PlanFacts } from './plan.js';
import { AdviceSession, type Explainable, type Explained, type Session } from './session.js';
import { prepareText, withVariable, writtenTable } from './statement.js';
import { readTables, tableKey, takenNames } from './tables.js';

export * from '../wire/advice.js';
export * from './model.js';
export type { Session } from './session.js';

/** A statement that has a plan. */
interface Work extends Planned {
  readonly statement: WorkStatement;
  readonly ask: Explainable;
  readonly generic: boolean;
  readonly asSelect: boolean;
}

/** Hypothetical indexes for one statement: its plan is asked with all of them there; a partition counts as a table. */
const mostPerStatement = 60;
const mostOnPartitions = 400;
const mostVariables = 16;

/** @throws PemError hypopg_missing | advice_superuser | server_version, errors of the connection */
export async function adviseIndexes(
  session: Session,
  statements: readonly WorkStatement[],
  options: AdviceOptions,
): Promise<DatabaseAdvice> {
  const from = performance.now();
  const door = await AdviceSession.open(session, options.trustStatements === true);
  const all = options.totalUs ?? statements.reduce((sum, { execUs }) => sum + execUs, 0);
  const { planned, skipped, writers } = await planAll(door, statements, options, Math.max(all, 1));
  const tables = await readTables(door, [...planned.flatMap(({ before }) => before.relations), ...writers]);
  const works = planned.map((work) => withCandidates(work, tables));
  const left = { ...options, timeMs: Math.max(0, options.timeMs - (performance.now() - from)) };
  const writes = writesOf(writers, tables);
  const planner = new ServerPlanner(door, works);
  const choice = await chooseIndexes(works, planner, left, (oid) => writes.get(oid)?.share ?? 0);
  const schemas = [...tables.values()].flatMap(({ schema, leaves }) => [
    schema,
    ...leaves.map((leaf) => leaf.schema),
  ]);
  const taken = choice.chosen.length === 0 ? new Set<string>() : await takenNames(door, schemas);
  return {
    form: 'pem-index-advice',
    version: 1,
    estimate: true,
    database: door.door.database,
    serverVersion: session.serverVersion,
    hypopg: door.door.hypopg,
    indexes: choice.chosen.map((one) => advised(one.made, one.gain, works, choice, writes, taken)),
    statements: works.map((work) => told(work, choice)),
    skipped,
    notes: notesOf(works, choice),
    plans: door.plans,
    elapsedMs: Math.round(performance.now() - from),
    complete: choice.complete && !skipped.some(({ code }) => code === 'not_reached'),
  };
}

async function planAll(
  door: AdviceSession,
  statements: readonly WorkStatement[],
  options: AdviceOptions,
  allUs: number,
): Promise<{ planned: Work[]; skipped: SkippedStatement[]; writers: Writer[] }> {
  const planned: Work[] = [];
  const writers: Writer[] = [];
  const skipped: SkippedStatement[] = [];
  const from = performance.now();
  for (const [i, statement] of statements.entries()) {
    options.onProgress?.({ step: 'planning', done: i, total: statements.length, plans: door.plans });
    const share = statement.execUs / allUs;
    const skip = (code: SkippedStatement['code'], reason: string): void => {
      skipped.push({ id: statement.id, share, code, reason });
    };
    // Half of the time at most is for the plans as they are.
    if (performance.now() - from > options.timeMs / 2 || options.signal?.aborted === true) {
      skip('not_reached', 'time was over before it was planned');
      continue;
    }
    const prepared = prepareText(statement.text, statement.cut);
    if ('refused' in prepared) {
      skip('refused', prepared.refused);
      continue;
    }
    const first: Explainable = {
      text: prepared.text,
      hasParameters: prepared.hasParameters,
      searchPath: options.searchPath ?? door.searchPathOf(statement.user),
    };
    const { ask, explained } = await explainWithVariables(door, first, statement.nested === true);
    const written = 'code' in explained || explained.asSelect ? writtenTable(statement.text) : undefined;
    const table = written === undefined ? undefined : await door.tableOf(written, ask.searchPath);
    if (table !== undefined) writers.push({ ...table, calls: statement.calls, share });
    if ('code' in explained) {
      skip(explained.code, explained.reason);
      continue;
    }
    const own = new Map(explained.facts.writes.map((one) => [tableKey(one.schema, one.name), one]));
    for (const { schema, name } of own.values())
      writers.push({ schema, name, calls: statement.calls, share });
    planned.push({
      id: statement.id,
      share,
      before: explained.facts,
      candidates: [],
      tables: new Set(),
      statement,
      ask: { ...ask, text: explained.text },
      generic: ask.hasParameters,
      asSelect: explained.asSelect,
    });
  }
  return { planned, skipped, writers };
}

/** Variables of a function are names in its statements: those that nothing else has become parameters. */
async function explainWithVariables(
  door: AdviceSession,
  first: Explainable,
  nested: boolean,
): Promise<{ ask: Explainable; explained: Explained }> {
  const original = await door.explain(first);
  let ask = first;
  let explained = original;
  for (let n = 0; nested && n < mostVariables; n++) {
    if (!('code' in explained) || explained.name === undefined) break;
    const text = withVariable(ask.text, explained.name);
    if (text === undefined) break;
    ask = { ...ask, text, hasParameters: true };
    explained = await door.explain(ask);
  }
  // What was said of the text as it stands is what can be understood.
  return 'code' in explained ? { ask: first, explained: original } : { ask, explained };
}

function withCandidates(work: Work, tables: ReadonlyMap<string, TableInfo>): Work {
  const candidates: Candidate[] = [];
  const oids = new Set<string>();
  for (const relation of work.before.relations) {
    const table = tables.get(tableKey(relation.schema, relation.name));
    if (table === undefined) continue;
    // Partitions ask the same of one table: the first speaks for all.
    const repeated = table.partitioned && oids.has(table.oid);
    oids.add(table.oid);
    if (!repeated) candidates.push(...candidatesFor(relation, table));
  }
  let made = 0;
  const bounded = candidates.slice(0, mostPerStatement).filter(({ table }) => {
    made += table.leaves.length;
    return made <= mostOnPartitions || table.leaves.length === 1;
  });
  return { ...work, candidates: bounded, tables: oids };
}

interface Writes {
  readonly calls: number;
  readonly share: number;
}

/** A statement that writes to a table, whether it could be planned or not. */
interface Writer extends Writes {
  readonly schema: string;
  readonly name: string;
}

function writesOf(writers: readonly Writer[], tables: ReadonlyMap<string, TableInfo>): Map<string, Writes> {
  const found = new Map<string, Writes>();
  for (const { schema, name, calls, share } of writers) {
    const oid = tables.get(tableKey(schema, name))?.oid;
    if (oid === undefined) continue;
    const sum = found.get(oid) ?? { calls: 0, share: 0 };
    found.set(oid, { calls: sum.calls + calls, share: sum.share + share });
  }
  return found;
}

/** The server as choose.ts sees it: an index of a partitioned table is one on each of its partitions. */
class ServerPlanner implements Planner {
  readonly #asks: ReadonlyMap<string, Explainable>;
  readonly #oids = new Map<Made, string[]>();

  constructor(
    readonly door: AdviceSession,
    works: readonly Work[],
  ) {
    this.#asks = new Map(works.map(({ id, ask }) => [id, ask]));
  }

  get plans(): number {
    return this.door.plans;
  }

  async create(candidate: Candidate): Promise<Made | undefined> {
    const names = new Set<string>();
    const oids: string[] = [];
    let bytes = 0;
    for (const leaf of candidate.table.leaves) {
      const made = await this.door.createHypothetical(createSql(candidate, leaf));
      if (made === undefined) {
        for (const oid of oids) await this.door.dropHypothetical(oid);
        return undefined;
      }
      names.add(made.name);
      oids.push(made.oid);
      bytes += made.bytes;
    }
    const made: Made = { candidate, names, bytes };
    this.#oids.set(made, oids);
    return made;
  }

  async drop(made: Made): Promise<void> {
    for (const oid of this.#oids.get(made) ?? []) await this.door.dropHypothetical(oid);
    this.#oids.delete(made);
  }

  async plan(statement: Planned): Promise<PlanFacts | undefined> {
    const ask = this.#asks.get(statement.id);
    if (ask === undefined) return undefined;
    const explained = await this.door.explain(ask);
    return 'code' in explained ? undefined : explained.facts;
  }
}

function advised(
  made: Made,
  gain: number,
  works: readonly Work[],
  choice: Choice,
  writes: ReadonlyMap<string, Writes>,
  taken: Set<string>,
): AdvisedIndex {
  const { candidate } = made;
  const { table } = candidate;
  const write = writes.get(table.oid);
  const gains = works.flatMap(({ id, before, share }) => {
    const after = choice.after.get(id);
    if (after === undefined || ![...made.names].some((name) => after.indexes.has(name))) return [];
    return [{ id, costBefore: before.cost, costAfter: after.cost, share }];
  });
  const overlaps = overlapsOf(candidate);
  const about = { writeCalls: write?.calls ?? 0, writeShare: write?.share ?? 0, overlaps };
  return {
    ...createLines(candidate, taken),
    table: `${nameSql(table.schema)}.${nameSql(table.name)}`,
    columns: candidate.keys.map((key) => keysSql([key])),
    include: candidate.include,
    where: candidate.where ?? null,
    sizeBytes: made.bytes,
    gain,
    statements: gains,
    tableIndexes: table.indexes.length,
    ...about,
    warnings: warningsOf(candidate, about),
  };
}

function told(work: Work, choice: Choice): StatementAdvice {
  return {
    id: work.id,
    costBefore: work.before.cost,
    costAfter: choice.after.get(work.id)?.cost ?? work.before.cost,
    share: work.share,
    generic: work.generic,
    asSelect: work.asSelect,
    uses: [...work.before.indexes],
  };
}

function notesOf(works: readonly Work[], choice: Choice): string[] {
  const notes = [
    'Costs and sizes are estimates of the planner and of hypopg, not measurements; gains assume that time falls as costs do.',
  ];
  if (works.some(({ generic }) => generic))
    notes.push('Statements with parameters were planned without their values, as a generic plan would be.');
  if (works.some(({ asSelect }) => asSelect))
    notes.push(
      'Where the role may not write, UPDATE and DELETE were planned as the SELECT that finds their rows.',
    );
  if (!choice.complete)
    notes.push('Time was over before all candidates were tried: there may be better advice.');
  return notes;
}
