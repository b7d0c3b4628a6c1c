/** The OpenAPI document, made from the same route table that the server serves. */
import type { RestRoute } from './route.js';
import { errorBody, type JsonSchema, toJsonSchema } from './schema.js';

const errorReply = (description: string): JsonSchema => ({
  description,
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
});

function parameters(route: RestRoute): JsonSchema[] {
  const list: JsonSchema[] = [];
  for (const [place, schema] of [
    ['path', route.params],
    ['query', route.query],
  ] as const) {
    if (schema === undefined) continue;
    const { properties, required } = toJsonSchema(schema) as {
      properties: Record<string, JsonSchema>;
      required: string[];
    };
    for (const [name, value] of Object.entries(properties)) {
      list.push({ name, in: place, required: required.includes(name), schema: value });
    }
  }
  return list;
}

function replies(route: RestRoute): JsonSchema {
  const result: Record<string, JsonSchema> = {};
  for (const [status, reply] of Object.entries(route.replies)) {
    if (Number(status) >= 400) {
      result[status] = errorReply(reply.description);
      continue;
    }
    const content: Record<string, JsonSchema> = {};
    if (reply.schema !== undefined) content['application/json'] = { schema: toJsonSchema(reply.schema) };
    for (const media of reply.media ?? []) content[media] = { schema: { type: 'string', format: 'binary' } };
    result[status] = {
      description: reply.description,
      ...(Object.keys(content).length === 0 ? {} : { content }),
    };
  }
  if (route.params !== undefined || route.query !== undefined || route.body !== undefined) {
    result[400] ??= errorReply('The input is refused; the message names the field');
  }
  if (route.access === 'user') {
    result[401] ??= errorReply('Nobody is signed in');
    if (route.method !== 'GET') result[403] ??= errorReply('The CSRF token is missing');
  }
  result[503] ??= errorReply('PEM’s database does not answer at the moment');
  return result;
}

/** @param routes the whole table */
export function openApi(routes: readonly RestRoute[], version: string): JsonSchema {
  const paths: Record<string, Record<string, JsonSchema>> = {};
  for (const route of routes) {
    const path = paths[route.path] ?? {};
    paths[route.path] = path;
    path[route.method.toLowerCase()] = {
      summary: route.summary,
      tags: [route.path.split('/')[1]],
      parameters: parameters(route),
      ...(route.body === undefined
        ? {}
        : {
            requestBody: {
              required: true,
              content: { 'application/json': { schema: toJsonSchema(route.body) } },
            },
          }),
      responses: replies(route),
      security: route.access === 'public' ? [] : [{ cookie: [] }, { token: [] }],
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'PEM',
      version,
      description:
        'Times are µs since 1970-01-01 UTC unless a name says otherwise. In rows of a probe, cells of type timestamptz are ISO 8601 text in UTC.',
    },
    servers: [{ url: '/pem/api/v1' }],
    paths,
    components: {
      schemas: { Error: toJsonSchema(errorBody) },
      securitySchemes: {
        cookie: { type: 'apiKey', in: 'cookie', name: 'pem_session' },
        token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' },
      },
    },
  };
}
