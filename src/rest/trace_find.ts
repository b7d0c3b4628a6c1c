/**
 * Calls of a run by words of their texts as they ran, which pages do not have in memory. In: words, and a span of recorded_at
 * that the asker is ready to wait for; out: slot and line of the calls that have all of the words. Read in the user's own role,
 * as a POST: what is looked for may be personal data, and addresses are logged.
 */
import * as v from 'valibot';
import { HttpError, json } from '../http/message.js';
import { route } from './route.js';
import { id, whole } from './schema.js';
import { latestUs, notThere, runName, withRun } from './trace_data.js';
import { foundSql } from './trace_events_sql.js';

const mostWords = 8;
const mostFound = 50_000;

export const traceFindRoutes = [
  route({
    method: 'POST',
    path: '/traces/{id}/find',
    summary: 'Calls of a run whose text as it ran, parameters, message or names have all of some words',
    params: v.strictObject({ id }),
    body: v.strictObject(
      {
        run: v.optional(runName),
        text: v.pipe(v.string('it is a text'), v.maxLength(1_000, 'it has at most 1000 characters')),
        afterUs: whole(0, latestUs),
        endUs: whole(0, latestUs),
      },
      'the body is an object of run, text, afterUs and endUs',
    ),
    replies: {
      200: {
        description:
          'found: [slot, line] of calls recorded from afterUs up to endUs, in any order; truncated: there are more',
        schema: v.strictObject({
          run: v.string(),
          found: v.array(v.array(v.number())),
          truncated: v.boolean(),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, body }) {
      const words = body.text.split(/\s+/).filter((word) => word !== '');
      if (words.length === 0 || words.length > mostWords)
        throw new HttpError(400, 'input_invalid', `body text: it has 1 to ${mostWords} words`);
      const answer = await withRun(context, session.username, params.id, body.run, async (conn, run) => {
        const sql = foundSql(run, body.afterUs, body.endUs, words.length, mostFound + 1);
        const { rows } = await conn.query(sql, words);
        return {
          run: run.run,
          found: rows.slice(0, mostFound).map((row) => [Number(row.slot), Number(row.line)]),
          truncated: rows.length > mostFound,
        };
      });
      return json(200, answer);
    },
  }),
];
