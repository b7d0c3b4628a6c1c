/** The table of nouns, and how a request becomes a call of one of their handlers. */
import * as v from 'valibot';
import { json } from '../http/message.js';
import type { Route } from '../http/router.js';
import { agentRoutes } from './agent.js';
import { historyRoutes } from './history.js';
import { latestRoutes } from './latest.js';
import { openApi } from './openapi.js';
import { probeRoutes } from './probe.js';
import {
  nobody,
  parseInput,
  parseJson,
  queryObject,
  type RestContext,
  type RestRoute,
  route,
} from './route.js';
import { serverRoutes } from './server.js';
import { sessionRoutes } from './session.js';
import { systemRoutes } from './system.js';
import { tokenRoutes } from './token.js';
import { traceRoutes } from './trace.js';
import { traceAdviceRoutes } from './trace_advice.js';
import { traceDataRoutes } from './trace_data.js';
import { traceFindRoutes } from './trace_find.js';
import { unmanagedRoutes } from './unmanaged.js';

export const basePath = '/pem/api/v1';

const openApiRoute = route({
  method: 'GET',
  path: '/openapi.json',
  summary: 'This document',
  access: 'public',
  replies: { 200: { description: 'OpenAPI 3.1', schema: v.record(v.string(), v.unknown()) } },
  async handle() {
    return json(200, openApiDocument);
  },
});

export const restRoutes: readonly RestRoute[] = [
  ...sessionRoutes,
  ...tokenRoutes,
  ...agentRoutes,
  ...serverRoutes,
  ...probeRoutes,
  ...latestRoutes,
  ...historyRoutes,
  ...traceRoutes,
  ...systemRoutes,
  ...traceDataRoutes,
  ...traceFindRoutes,
  ...traceAdviceRoutes,
  ...unmanagedRoutes,
  openApiRoute,
];

const openApiDocument = openApi(restRoutes, '0.1.0');

/** The routes for the web server. */
export function httpRoutes(context: RestContext): Route[] {
  return restRoutes.map((entry) => ({
    method: entry.method,
    pattern: basePath + entry.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    async handle(request) {
      const session = entry.access === 'public' ? nobody : await context.gate.identify(request);
      const input = {
        params: parseInput(entry.params, request.params, 'path'),
        query: parseInput(entry.query ?? noQuery, queryObject(request.query), 'query'),
        body: entry.body === undefined ? undefined : parseInput(entry.body, parseJson(request.body), 'body'),
        session,
        request,
      };
      return entry.handle(context, input as never);
    },
  }));
}

const noQuery = v.strictObject({});
