import { expect, test } from 'vitest';
import { linkTo, parseRoute } from './route.js';

test('the address names page, object and range', () => {
  expect(parseRoute('#/server/12?range=1h')).toEqual({
    page: 'server',
    id: 12,
    range: { live: true, id: '1h', ms: 3_600_000 },
  });
  expect(parseRoute('#/agent/1?from=1000&to=2000')).toEqual({
    page: 'agent',
    id: 1,
    range: { live: false, fromMs: 1000, toMs: 2000 },
  });
  expect(parseRoute('').page).toBe('fleet');
});

test('what is no page and no range is neither', () => {
  expect(parseRoute('#/server/x').page).toBe('none');
  expect(parseRoute('#/server/-1').page).toBe('none');
  expect(parseRoute('#/other').page).toBe('none');
  expect(parseRoute('#/?from=9&to=3').range).toEqual({ live: true, id: '5m', ms: 300_000 });
  expect(parseRoute('#/?range=<b>').range).toMatchObject({ id: '5m' });
});

test('a link keeps the range', () => {
  expect(linkTo('/agent/3', { live: true, id: '6h', ms: 1 })).toBe('#/agent/3?range=6h');
  expect(parseRoute(linkTo('/agent/3', { live: false, fromMs: 5, toMs: 6 })).range).toEqual({
    live: false,
    fromMs: 5,
    toMs: 6,
  });
});
