/** What a browser may send over the WebSocket. Anything else is refused with a code; nothing throws. */

export interface TopicName {
  readonly target: number;
  readonly probe: string;
}

export interface LiveRequest {
  readonly subscribe: readonly TopicName[];
  readonly unsubscribe: readonly TopicName[];
  readonly resnapshot: readonly TopicName[];
}

export interface LiveRefusal {
  readonly error: { readonly code: string; readonly message: string };
}

const verbs = ['subscribe', 'unsubscribe', 'resnapshot'] as const;

/** @param text undefined for a binary message */
export function parseRequest(text: string | undefined, maxTopics: number): LiveRequest | LiveRefusal {
  if (text === undefined) return refusal('a message is JSON text');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refusal('a message is JSON text');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refusal('a message is an object');
  const request: Record<(typeof verbs)[number], TopicName[]> = {
    subscribe: [],
    unsubscribe: [],
    resnapshot: [],
  };
  const given = Object.entries(value);
  if (given.length === 0) return refusal(`a message holds one of ${verbs.join(', ')}`);
  for (const [verb, list] of given) {
    if (!isVerb(verb)) return refusal(`a message holds ${verbs.join(', ')} and nothing else`);
    if (!Array.isArray(list) || list.length > maxTopics)
      return refusal(`${verb} is a list of at most ${maxTopics} topics`);
    for (const item of list as unknown[]) {
      if (!isTopic(item)) return refusal('a topic is {"target": number, "probe": name}');
      request[verb].push({ target: item.target, probe: item.probe });
    }
  }
  return request;
}

function isVerb(text: string): text is (typeof verbs)[number] {
  return (verbs as readonly string[]).includes(text);
}

function isTopic(value: unknown): value is TopicName {
  if (typeof value !== 'object' || value === null || !('target' in value) || !('probe' in value))
    return false;
  const { target, probe } = value;
  return Number.isSafeInteger(target) && typeof probe === 'string' && /^[a-z][a-z0-9_]{0,62}$/.test(probe);
}

function refusal(message: string): LiveRefusal {
  return { error: { code: 'message_invalid', message } };
}
