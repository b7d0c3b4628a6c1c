/** Latest rows of one probe on one target: JSON, or one block for those who ask for application/x-pem-block. */
import * as v from 'valibot';
import { HttpError, json } from '../http/message.js';
import { blockRows, readBlock } from '../wire/index.js';
import { route } from './route.js';
import { id, orNull, probeName, timeUs } from './schema.js';

export const blockType = 'application/x-pem-block';

export const latestRoutes = [
  route({
    method: 'GET',
    path: '/latest/{target}/{probe}',
    summary: 'The newest row of each key',
    params: v.strictObject({ target: id, probe: probeName }),
    replies: {
      200: {
        description: 'Rows, or a block (src/wire/batch.fbs) under Accept: application/x-pem-block',
        schema: v.strictObject({
          recordedAtUs: orNull(timeUs),
          columns: v.array(v.strictObject({ name: v.string(), type: v.string() })),
          rows: v.array(v.record(v.string(), v.unknown())),
        }),
        media: [blockType],
      },
      404: { description: 'There is no such target or probe, or the user does not see it' },
    },
    async handle(context, { session, params, request }) {
      const latest = await context.latest.read(session.username, BigInt(params.target), params.probe);
      if (latest === undefined) {
        throw new HttpError(
          404,
          'topic_unknown',
          `there is no target ${params.target} that you see, or no such probe`,
        );
      }
      if (request.headers.get('accept')?.includes(blockType) === true) {
        return {
          status: 200,
          headers: { 'content-type': blockType, 'cache-control': 'no-store' },
          body: latest.block,
        };
      }
      const block = readBlock(latest.block);
      return json(200, {
        recordedAtUs: latest.recordedAtUs === 0n ? null : Number(latest.recordedAtUs),
        columns: block.columns.map(({ name, type }) => ({ name, type })),
        rows: blockRows(block),
      });
    },
  }),
];
