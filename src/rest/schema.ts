/** Schemas that several nouns use, and the JSON Schema of a schema: exactly the kinds of valibot that routes use. */
import * as v from 'valibot';

/** Whole numbers of paths and queries, as text. */
export function wholeText(from: number, to: number) {
  const inRange = (text: string): boolean =>
    /^\d{1,16}$/.test(text) && Number(text) >= from && Number(text) <= to;
  return v.pipe(
    v.string('it is missing'),
    v.check(inRange, `it is a whole number from ${from} to ${to}`),
    v.transform(Number),
    v.metadata({ type: 'integer', minimum: from, maximum: to }),
  );
}

/** Whole numbers of bodies. */
export const whole = (from: number, to: number) =>
  v.pipe(
    v.number('it is a number'),
    v.integer('it is a whole number'),
    v.minValue(from, `it is at least ${from}`),
    v.maxValue(to, `it is at most ${to}`),
  );

export const id = wholeText(1, Number.MAX_SAFE_INTEGER);
export const agentId = wholeText(1, 2_147_483_647);

const namePattern = /^[a-z][a-z0-9_]{0,62}$/;
export const probeName = v.pipe(v.string('it is missing'), v.regex(namePattern, 'it is no name of a probe'));

/** Times are µs since 1970 UTC, as numbers. */
export const timeUs = v.number();
export const orNull = <S extends v.GenericSchema>(schema: S) => v.nullable(schema);

export const status = v.picklist(['up', 'down', 'unknown']);

export const errorBody = v.strictObject({
  error: v.strictObject({ code: v.string(), message: v.string() }),
});

export type JsonSchema = Readonly<Record<string, unknown>>;

interface Inspectable {
  readonly type: string;
  readonly pipe?: readonly Inspectable[];
  readonly metadata?: JsonSchema;
  readonly requirement?: unknown;
  readonly entries?: Readonly<Record<string, Inspectable>>;
  readonly item?: Inspectable;
  readonly wrapped?: Inspectable;
  readonly options?: readonly unknown[];
  readonly value?: Inspectable | unknown;
}

/** @throws Error where a schema is of a kind that this function does not know */
export function toJsonSchema(schema: unknown): JsonSchema {
  return convert(schema as Inspectable);
}

function convert(schema: Inspectable): JsonSchema {
  if (schema.pipe !== undefined) return convertPipe(schema.pipe);
  switch (schema.type) {
    case 'string':
    case 'boolean':
    case 'number':
      return { type: schema.type };
    case 'unknown':
      return {};
    case 'nullable':
      return { anyOf: [convert(schema.wrapped as Inspectable), { type: 'null' }] };
    case 'optional':
      return convert(schema.wrapped as Inspectable);
    case 'picklist':
      return { type: 'string', enum: schema.options };
    case 'array':
      return { type: 'array', items: convert(schema.item as Inspectable) };
    case 'record':
      return { type: 'object', additionalProperties: convert(schema.value as Inspectable) };
    case 'object':
    case 'strict_object':
      return convertObject(schema);
    default:
      throw new Error(`schema of kind ${schema.type} has no JSON Schema here`);
  }
}

function convertObject(schema: Inspectable): JsonSchema {
  const entries = Object.entries(schema.entries ?? {});
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([name, entry]) => [name, convert(entry)])),
    required: entries.filter(([, entry]) => entry.type !== 'optional').map(([name]) => name),
    ...(schema.type === 'strict_object' ? { additionalProperties: false } : {}),
  };
}

function convertPipe(pipe: readonly Inspectable[]): JsonSchema {
  const [first, ...actions] = pipe;
  let result: JsonSchema = convert(first as Inspectable);
  for (const action of actions) {
    if (action.type === 'metadata') result = { ...action.metadata };
    else if (action.type === 'regex') result = { ...result, pattern: (action.requirement as RegExp).source };
    else if (action.type === 'min_value') result = { ...result, minimum: action.requirement };
    else if (action.type === 'max_value') result = { ...result, maximum: action.requirement };
    else if (action.type === 'max_length') result = { ...result, maxLength: action.requirement };
    else if (action.type === 'integer') result = { ...result, type: 'integer' };
  }
  return result;
}
