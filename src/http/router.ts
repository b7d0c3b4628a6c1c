/**
 * Method and path to handler. Patterns are made of whole segments: literal or `:name`. Literal segments win over
 * parameters, so `/probe/config/:target` and `/probe/:name` can live together.
 */
import { HttpError, type HttpReply, type HttpRequest, json } from './message.js';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly pattern: string;
  handle(request: HttpRequest): Promise<HttpReply> | HttpReply;
}

interface Node {
  readonly literals: Map<string, Node>;
  parameter?: Node;
  readonly routes: Map<string, { route: Route; names: readonly string[] }>;
}

const newNode = (): Node => ({ literals: new Map(), routes: new Map() });

/** Trailing slash or none is the same path. */
function segments(path: string): string[] {
  return path
    .split('/')
    .filter((segment, index, all) => segment !== '' || (index !== 0 && index !== all.length - 1));
}

export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

export class Router {
  readonly #root = newNode();

  add(route: Route): void {
    const names: string[] = [];
    let node = this.#root;
    for (const segment of segments(route.pattern)) {
      let next: Node | undefined;
      if (segment.startsWith(':')) {
        names.push(segment.slice(1));
        next = node.parameter ??= newNode();
      } else {
        next = node.literals.get(segment) ?? newNode();
        node.literals.set(segment, next);
      }
      node = next;
    }
    if (node.routes.has(route.method)) throw new Error(`two routes for ${route.method} ${route.pattern}`);
    node.routes.set(route.method, { route, names });
  }

  /**
   * @returns the route, the reply that refuses the method or the path's coding, or undefined where nothing lives.
   */
  find(method: string, path: string): Match | { readonly reply: HttpReply } | undefined {
    const values: string[] = [];
    const node = this.#walk(this.#root, segments(path), 0, values);
    if (node === undefined) return undefined;
    const found = node.routes.get(method === 'HEAD' ? 'GET' : method);
    if (found === undefined) {
      const allow = [...node.routes.keys()].join(', ');
      const message = `${method} is not possible here; possible: ${allow}`;
      return { reply: json(405, { error: { code: 'method_not_allowed', message } }, { allow }) };
    }
    const params: Record<string, string> = {};
    for (const [index, name] of found.names.entries()) params[name] = decode(values[index] ?? '');
    return { route: found.route, params };
  }

  #walk(node: Node, parts: readonly string[], at: number, values: string[]): Node | undefined {
    if (at === parts.length) return node.routes.size > 0 ? node : undefined;
    const part = parts[at] as string;
    const literal = node.literals.get(part);
    const found = literal === undefined ? undefined : this.#walk(literal, parts, at + 1, values);
    if (found !== undefined || node.parameter === undefined || part === '') return found;
    values.push(part);
    const below = this.#walk(node.parameter, parts, at + 1, values);
    if (below === undefined) values.pop();
    return below;
  }
}

/** @throws HttpError path_invalid */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HttpError(400, 'path_invalid', 'the path holds a percent sign that does not stand for UTF-8');
  }
}
