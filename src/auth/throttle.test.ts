import { expect, test } from 'vitest';
import { networkOf, Throttle } from './throttle.js';

test('attempts run out, say how long to wait, and come back with time', () => {
  const throttle = new Throttle({ capacity: 3, refillMs: 1000, maxKeys: 10 });
  expect([1, 2, 3].map(() => throttle.take('a', 0))).toEqual([0, 0, 0]);
  expect(throttle.take('a', 0)).toBe(1000);
  expect(throttle.take('a', 400)).toBe(600);
  expect(throttle.take('a', 1000)).toBe(0);
  expect(throttle.take('a', 1000)).toBe(1000);
  expect(throttle.take('b', 1000)).toBe(0);
});

test('a success gives its attempt back and a full bucket is forgotten', () => {
  const throttle = new Throttle({ capacity: 1, refillMs: 1000, maxKeys: 10 });
  for (let i = 0; i < 5; i++) {
    expect(throttle.take('a', 0)).toBe(0);
    throttle.giveBack('a', 0);
  }
  expect(throttle.size).toBe(0);
});

test('memory is bounded whatever names come', () => {
  const throttle = new Throttle({ capacity: 1, refillMs: 1000, maxKeys: 100 });
  for (let i = 0; i < 10_000; i++) throttle.take(`user${i}`, 0);
  expect(throttle.size).toBe(100);
});

test('a clock that goes back gives nothing away', () => {
  const throttle = new Throttle({ capacity: 1, refillMs: 1000, maxKeys: 10 });
  throttle.take('a', 10_000);
  expect(throttle.take('a', 0)).toBeGreaterThan(0);
});

test('an IPv6 host is its /64, an IPv4 address is itself also inside IPv6', () => {
  expect(networkOf('2001:0db8:0001:0002:0000:0000:0000:0001')).toBe(
    networkOf('2001:0db8:0001:0002:ffff:ffff:ffff:ffff'),
  );
  expect(networkOf('2001:0db8:0001:0002:0000:0000:0000:0001')).not.toBe(
    networkOf('2001:0db8:0001:0003:0000:0000:0000:0001'),
  );
  expect(networkOf('0000:0000:0000:0000:0000:ffff:0a00:0001')).not.toBe(
    networkOf('0000:0000:0000:0000:0000:ffff:0a00:0002'),
  );
  expect(networkOf('10.0.0.1')).toBe('10.0.0.1');
});
