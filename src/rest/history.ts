/**
 * The past of one probe on one target, raw or in steps, as JSON or as a block. Where the client leaves the step to the
 * server, a reply holds the whole span: the step grows with the number of keys, so that a host with 128 processors or a
 * server with 500 databases gets fewer steps and never loses its newest rows.
 */
import * as v from 'valibot';
import type { PgConn } from '../../native/index.js';
import { errorCode } from '../base/errors.js';
import { quoteName } from '../base/reader.js';
import type { ProbeDefinition } from '../catalog/types.js';
import { HttpError, json } from '../http/message.js';
import type { ProbeColumn } from '../wire/config.js';
import { type Cell, cellAt, readBlock } from '../wire/index.js';
import { aggregates, chooseStepMs, historySql } from './history_sql.js';
import { blockType } from './latest.js';
import { route } from './route.js';
import { id, probeName, wholeText } from './schema.js';

const maxRows = 20_000;
/** Steps a chart has room for where the client does not say. */
const defaultSteps = 1_500;
/** The year 2255: what a JSON number and a path of digits hold exactly. */
const latestUs = Number.MAX_SAFE_INTEGER;

/** The named metrics in catalogue order, all where none is named. @throws HttpError column_unknown */
function chooseMetrics(definition: ProbeDefinition, list: string | undefined): ProbeColumn[] {
  const metrics = definition.columns.filter((column) => column.role === 'metric');
  if (list === undefined || list === '') return metrics;
  const wanted = new Set(list.split(','));
  for (const column of definition.columns) if (column.role === 'key') wanted.delete(column.name);
  const chosen = metrics.filter((column) => wanted.delete(column.name));
  if (wanted.size > 0) {
    const known = metrics.map((column) => column.name).join(', ');
    throw new HttpError(
      400,
      'column_unknown',
      `query columns: ${definition.name} has ${known}, keys come by themselves`,
    );
  }
  return chosen;
}

/** `<key column>:<value>`. @throws HttpError key_unknown */
function chooseKey(
  definition: ProbeDefinition,
  text: string | undefined,
): { column: string; value: string } | undefined {
  if (text === undefined) return undefined;
  const at = text.indexOf(':');
  const column = text.slice(0, Math.max(0, at));
  const keys = definition.columns.filter(({ role }) => role === 'key').map(({ name }) => name);
  if (!keys.includes(column)) {
    const known = keys.length === 0 ? 'no keys' : `the keys ${keys.join(', ')}`;
    throw new HttpError(
      400,
      'key_unknown',
      `query key: ${definition.name} has ${known}; write key=NAME:VALUE`,
    );
  }
  return { column, value: text.slice(at + 1) };
}

/** The interval in force for the target, and how many keys its newest rows have (at least one); undefined: not seen. */
async function lookAtTarget(
  conn: PgConn,
  target: number,
  definition: ProbeDefinition,
): Promise<{ intervalMs: number; keys: number } | undefined> {
  const keys =
    definition.mode === 'append'
      ? '1'
      : `(SELECT count(*) FROM pemdata.${quoteName(definition.name)} l WHERE l.target_id = t.id)`;
  const { rows } = await conn.query(
    `SELECT (SELECT c.interval_ms FROM pem.probe_config c WHERE c.target_id = t.id AND c.probe = $2) AS interval_ms,
            ${keys} AS keys
       FROM pem.target t WHERE t.id = $1 AND t.deleted_at IS NULL`,
    [String(target), definition.name],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    intervalMs: Number(row.interval_ms ?? definition.intervalMs),
    keys: Math.max(1, Number(row.keys)),
  };
}

export const historyRoutes = [
  route({
    method: 'GET',
    path: '/history/{target}/{probe}',
    summary: 'Rows of a span of time, oldest first: [fromUs, toUs)',
    params: v.strictObject({ target: id, probe: probeName }),
    query: v.strictObject({
      fromUs: wholeText(0, latestUs),
      toUs: wholeText(0, latestUs),
      stepMs: v.optional(wholeText(0, 31_622_400_000)),
      steps: v.optional(wholeText(1, 10_000)),
      key: v.optional(
        v.pipe(
          v.string(),
          v.maxLength(1024, 'it is at most 1024 characters'),
          v.regex(/^[^\0]*$/, 'it holds NUL'),
        ),
      ),
      columns: v.optional(v.pipe(v.string(), v.maxLength(8192, 'it is at most 8192 characters'))),
      aggregate: v.optional(v.picklist(aggregates, 'it is avg, min, max or last')),
    }),
    replies: {
      200: {
        description:
          'JSON, or a block under Accept: application/x-pem-block. Without stepMs the server chooses it, for about `steps` steps (1500). `key` is NAME:VALUE of a key column. Without aggregate gauges are averaged, counters are as they stood at a step’s end. x-pem-step-ms is the step used (0: raw), x-pem-interval-ms how often the probe runs there, x-pem-truncated: 1 says that the newest rows were cut',
        schema: v.strictObject({
          columns: v.array(v.strictObject({ name: v.string(), type: v.string() })),
          rows: v.array(v.array(v.unknown())),
        }),
        media: [blockType],
      },
      404: { description: 'There is no such target or probe, or the user does not see it' },
    },
    async handle(context, { session, params, query, request }) {
      const { fromUs, toUs } = query;
      if (fromUs >= toUs) throw new HttpError(400, 'input_invalid', 'query toUs: it is not after fromUs');
      const definition = await context.probes.find(params.probe);
      if (definition === undefined)
        throw new HttpError(404, 'probe_unknown', `there is no probe ${params.probe}`);
      if (!definition.history)
        throw new HttpError(404, 'history_none', `${params.probe} keeps no history, see /latest`);
      const metrics = chooseMetrics(definition, query.columns);
      const key = chooseKey(definition, query.key);
      const result = await context.reader
        .read(session.username, async (conn) => {
          const seen = await lookAtTarget(conn, params.target, definition);
          if (seen === undefined) return undefined;
          const { intervalMs } = seen;
          const stepMs =
            query.stepMs ??
            chooseStepMs({
              spanMs: (toUs - fromUs) / 1000,
              intervalMs,
              keys: key === undefined ? seen.keys : 1,
              steps: query.steps ?? defaultSteps,
              maxRows,
            });
          const { sql, columns } = historySql(definition, {
            target: params.target,
            ...{ fromUs, toUs, stepMs, intervalMs, metrics, key },
            aggregate: query.aggregate,
            limit: maxRows,
          });
          const meta = {
            target: BigInt(params.target),
            probe: definition.name,
            probeVersion: definition.version,
            kind: 'append' as const,
            recordedAtUs: BigInt(toUs),
            intervalUs: BigInt(stepMs === 0 ? intervalMs : stepMs) * 1000n,
          };
          return { ...(await conn.copyOutBlock({ sql, columns, meta })), stepMs, intervalMs };
        })
        .catch((error: unknown) => {
          if (errorCode(error) !== '57014') throw error;
          throw new HttpError(
            503,
            'history_slow',
            'reading this span took too long; choose a shorter one, or one key (key=NAME:VALUE)',
          );
        });
      if (result === undefined) {
        throw new HttpError(404, 'target_unknown', `there is no target ${params.target} that you see`);
      }
      const headers = {
        'x-pem-step-ms': String(result.stepMs),
        'x-pem-interval-ms': String(result.intervalMs),
        'x-pem-truncated': result.rows >= maxRows ? '1' : '0',
      };
      if (request.headers.get('accept')?.includes(blockType) !== true) {
        return json(200, rowsOf(result.block), headers);
      }
      return {
        status: 200,
        headers: { 'content-type': blockType, 'cache-control': 'no-store', ...headers },
        body: result.block,
      };
    },
  }),
];

function rowsOf(bytes: Uint8Array): { columns: { name: string; type: string }[]; rows: Cell[][] } {
  const block = readBlock(bytes);
  const rows: Cell[][] = [];
  for (let row = 0; row < block.rows; row++) rows.push(block.columns.map((column) => cellAt(column, row)));
  return { columns: block.columns.map(({ name, type }) => ({ name, type })), rows };
}
