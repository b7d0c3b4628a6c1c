import { expect, test } from 'vitest';
import { HostList, isLoopback } from './guard.js';
import { Router } from './router.js';

const reply = { status: 200 };

test('literal segments win over parameters, and a dead end goes back', () => {
  const router = new Router();
  const patterns = [
    '/probe',
    '/probe/:name',
    '/probe/config/:target',
    '/probe/config/:target/:probe',
    '/:a/x',
  ];
  for (const pattern of patterns) router.add({ method: 'GET', pattern, handle: () => reply });
  const find = (path: string): unknown => {
    const found = router.find('GET', path);
    return found !== undefined && 'route' in found ? [found.route.pattern, found.params] : undefined;
  };
  expect(find('/probe')).toEqual(['/probe', {}]);
  expect(find('/probe/')).toEqual(['/probe', {}]);
  expect(find('/probe/config')).toEqual(['/probe/:name', { name: 'config' }]);
  expect(find('/probe/config/3')).toEqual(['/probe/config/:target', { target: '3' }]);
  expect(find('/probe/config/3/a%20b')).toEqual([
    '/probe/config/:target/:probe',
    { target: '3', probe: 'a b' },
  ]);
  expect(find('/other/x')).toEqual(['/:a/x', { a: 'other' }]);
  expect(find('/other/y')).toBeUndefined();
  expect(find('/probe//')).toBeUndefined();
  expect(() => router.find('GET', '/probe/%ff')).toThrow(/percent/);
});

test('hosts with and without a port; what only looks like one is none', () => {
  const hosts = new HostList(['pem.example', 'other.example:8443', '[::1]']);
  const allowed = ['pem.example', 'PEM.EXAMPLE:1', 'other.example:8443', '[::1]:80'];
  const refused = [
    'other.example',
    'other.example:1',
    'pem.example.evil',
    'pem.example:x',
    'a@pem.example',
    '',
    ':1',
  ];
  expect(allowed.filter((host) => !hosts.allows(host))).toEqual([]);
  expect(refused.filter((host) => hosts.allows(host))).toEqual([]);
});

test('loopback is what never leaves the machine', () => {
  expect(['127.0.0.1', '127.9.9.9', '::1', 'localhost'].every(isLoopback)).toBe(true);
  expect(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example', 'example'].some(isLoopback)).toBe(false);
});
