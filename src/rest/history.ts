/** The past of one probe on one target, raw or in steps, as a block or as JSON. */
import * as v from 'valibot';
import type { ProbeDefinition } from '../catalog/types.js';
import { HttpError, json } from '../http/message.js';
import type { ProbeColumn } from '../wire/config.js';
import { type Cell, cellAt, readBlock } from '../wire/index.js';
import { aggregates, historySql } from './history_sql.js';
import { blockType } from './latest.js';
import { route } from './route.js';
import { id, probeName, wholeText } from './schema.js';

const maxRows = 20_000;
/** Steps a chart has room for where the client does not say. */
const defaultSteps = 1_500;
const latestUs = 32_503_680_000_000_000;

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
      columns: v.optional(v.pipe(v.string(), v.maxLength(8192, 'it is at most 8192 characters'))),
      aggregate: v.optional(v.picklist(aggregates, 'it is avg, min, max or last')),
    }),
    replies: {
      200: {
        description:
          'JSON, or a block under Accept: application/x-pem-block. x-pem-step-ms is the step used (0: raw), x-pem-truncated: 1 says that the newest rows were cut',
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
      const automatic = Math.ceil((toUs - fromUs) / 1000 / defaultSteps);
      const stepMs = query.stepMs ?? (automatic <= definition.intervalMs ? 0 : automatic);
      const { sql, columns } = historySql(definition, {
        target: params.target,
        fromUs,
        toUs,
        stepMs,
        metrics,
        aggregate: query.aggregate,
        limit: maxRows,
      });
      const result = await context.reader.read(session.username, async (conn) => {
        const seen = await conn.query('SELECT 1 FROM pem.target WHERE id = $1 AND deleted_at IS NULL', [
          String(params.target),
        ]);
        if (seen.rows.length === 0) return undefined;
        const meta = {
          target: BigInt(params.target),
          probe: definition.name,
          probeVersion: definition.version,
          kind: 'append' as const,
          recordedAtUs: BigInt(toUs),
          intervalUs: BigInt(stepMs === 0 ? definition.intervalMs : stepMs) * 1000n,
        };
        return conn.copyOutBlock({ sql, columns, meta });
      });
      if (result === undefined) {
        throw new HttpError(404, 'target_unknown', `there is no target ${params.target} that you see`);
      }
      const headers = {
        'x-pem-step-ms': String(stepMs),
        'x-pem-truncated': result.rows >= maxRows ? '1' : '0',
      };
      if (request.headers.get('accept')?.includes('application/json') === true) {
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
