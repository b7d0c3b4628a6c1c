/**
 * The command advise_indexes: index advice for statements that PEM has from a trace. In: an AdviceRequest, the servers that this
 * agent watches. Out: an AdviceAnswer that fits into a pem.sync(). One connection for each database in turn, for as long as
 * its advice takes: one of the three that the agent may have (probes/link.ts), so where a trace runs, probes that visit
 * databases wait meanwhile. One request at a time, further ones wait. A request that comes twice is worked on once. Nothing is
 * changed on the server and no statement is run: src/advice/session.ts.
 */
import * as v from 'valibot';
import { adviceDefaults, adviseIndexes } from '../../src/advice/index.js';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { AdviceAnswer, AdviceFailure, DatabaseAdvice, TracedStatement } from '../../src/wire/advice.js';
import type { ServerTarget } from '../../src/wire/config.js';
import type { CommandKind } from '../link/commands.js';
import type { Scheduler } from '../scheduler/index.js';

export interface AdviseOptions {
  readonly servers: () => readonly ServerTarget[];
  /** A connection in its turn; Scheduler.borrow. */
  readonly borrow: Scheduler['borrow'];
}

/** For a turn, in each database. A visit of probes to one database is over sooner. */
const turnMs = 60_000;
const mostDatabases = 5;
const mostStatements = 200;
/** pem.sync() takes 1 MiB in all. */
const mostAnswerBytes = 256 * 1024;
const answersKept = 20;

const text = v.pipe(v.string(), v.maxLength(65_536));
const amount = v.pipe(v.number(), v.minValue(0));
const request = v.looseObject({
  token: v.pipe(v.string(), v.maxLength(64)),
  targetId: v.number(),
  totalUs: amount,
  mostIndexes: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(20)),
  timeMs: v.pipe(v.number(), v.minValue(0), v.maxValue(300_000)),
  statements: v.pipe(
    v.array(
      v.looseObject({
        id: v.pipe(v.string(), v.maxLength(200)),
        text,
        cut: v.boolean(),
        database: v.pipe(v.string(), v.maxLength(63)),
        user: v.nullable(v.pipe(v.string(), v.maxLength(63))),
        nested: v.optional(v.boolean(), false),
        calls: amount,
        execUs: amount,
      }),
    ),
    v.maxLength(mostStatements),
  ),
});
type Request = v.InferOutput<typeof request>;

export function adviseCommand(options: AdviseOptions): CommandKind {
  const answers = new Map<string, Promise<AdviceAnswer>>();
  let last: Promise<unknown> = Promise.resolve();
  return (payload) => {
    const parsed = v.safeParse(request, payload);
    if (!parsed.success)
      throw new PemError(
        'advice_refused',
        `the request cannot be read: ${parsed.issues[0].message}`,
        'refused',
      );
    const wanted = parsed.output;
    const known = answers.get(wanted.token);
    if (known !== undefined) return known;
    const answer = last.then(() => answerTo(wanted, options));
    last = answer.catch(() => undefined);
    answers.set(wanted.token, answer);
    for (const token of [...answers.keys()].slice(0, -answersKept)) answers.delete(token);
    return answer;
  };
}

async function answerTo(wanted: Request, options: AdviseOptions): Promise<AdviceAnswer> {
  const server = options.servers().find(({ targetId }) => targetId === wanted.targetId);
  if (server === undefined)
    throw new PemError('advice_refused', 'this agent does not watch that server', 'refused');
  const databases: DatabaseAdvice[] = [];
  const failures: AdviceFailure[] = [];
  const byDatabase = new Map<string, TracedStatement[]>();
  for (const statement of wanted.statements)
    byDatabase.set(statement.database, [...(byDatabase.get(statement.database) ?? []), statement]);
  for (const [database, statements] of [...byDatabase].slice(0, mostDatabases)) {
    try {
      const { leastGain } = adviceDefaults;
      const { mostIndexes, timeMs, totalUs } = wanted;
      const advice = await options.borrow(server.targetId, database, turnMs, (session) =>
        adviseIndexes(session, statements, { mostIndexes, timeMs, totalUs, leastGain }),
      );
      databases.push(advice);
    } catch (error) {
      failures.push({ database, code: errorCode(error), reason: errorText(error).slice(0, 2000) });
    }
  }
  for (const database of [...byDatabase.keys()].slice(mostDatabases))
    failures.push({
      database,
      code: 'advice_refused',
      reason: `only the ${mostDatabases} databases with the most time are looked at`,
    });
  return fitting({ databases, failures });
}

/** Indexes matter most: lists of statements are cut until the answer fits. */
function fitting(answer: AdviceAnswer): AdviceAnswer {
  for (const most of [1000, 100, 20, 0]) {
    const databases = answer.databases.map((one) => ({
      ...one,
      statements: one.statements.slice(0, most),
      skipped: one.skipped.slice(0, most).map((it) => ({ ...it, reason: it.reason.slice(0, 500) })),
      indexes: one.indexes.map((index) => ({ ...index, statements: index.statements.slice(0, most) })),
      notes:
        most === 1000
          ? one.notes
          : [...one.notes, 'Lists of statements were cut so that the answer could travel.'],
    }));
    const cut = { ...answer, databases };
    if (Buffer.byteLength(JSON.stringify(cut)) <= mostAnswerBytes) return cut;
  }
  throw new PemError('advice_refused', 'the answer is too long to travel', 'refused');
}
