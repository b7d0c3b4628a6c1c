import { describe, expect, it } from 'vitest';
import { inetText, intervalText, lsnText, numericText, textArray, timeText } from './values.js';

const bytes = (...hex: string[]) => new Uint8Array(Buffer.from(hex.join('').replaceAll(' ', ''), 'hex'));

describe('values in PostgreSQL binary form', () => {
  it('numeric', () => {
    expect(numericText(bytes('0000 0000 0000 0000'))).toBe('0');
    expect(numericText(bytes('0000 0000 0000 0002'))).toBe('0.00');
    expect(numericText(bytes('0002 0000 4000 0002 007b 1194'))).toBe('-123.45');
    expect(numericText(bytes('0001 0002 0000 0000 0001'))).toBe('100000000');
    expect(numericText(bytes('0001 ffff 0000 0008 000c'))).toBe('0.00120000');
    expect(numericText(bytes('0001 fffe 0000 0006 0c00'))).toBe('0.000030');
    expect(numericText(bytes('0000 0000 c000 0000'))).toBe('NaN');
    expect(numericText(bytes('0000 0000 f000 0020'))).toBe('-Infinity');
  });

  it('inet', () => {
    expect(inetText(bytes('02 20 00 04 0a000001'))).toBe('10.0.0.1');
    expect(inetText(bytes('02 08 00 04 0a000000'))).toBe('10.0.0.0/8');
    expect(inetText(bytes('03 80 00 10 00000000000000000000000000000000'))).toBe('::');
    expect(inetText(bytes('03 40 00 10 20010db8000000000001000000000001'))).toBe('2001:db8::1:0:0:1/64');
    expect(inetText(bytes('03 80 00 10 20010db8000000010001000100010001'))).toBe('2001:db8:0:1:1:1:1:1');
  });

  it('interval, pg_lsn, timestamptz and text[]', () => {
    expect(intervalText(0n, 0, 0)).toBe('PT0S');
    expect(intervalText(-500_000n, 0, 0)).toBe('PT-0.5S');
    expect(intervalText(3_723_000_001n, -3, 14)).toBe('P1Y2M-3DT1H2M3.000001S');
    expect(lsnText(0xffffffff_00000010n)).toBe('FFFFFFFF/10');
    expect(timeText(0n)).toBe('1970-01-01T00:00:00.000000Z');
    expect(timeText(-(1n << 63n))).toBe('-infinity');
    expect(timeText(9_000_000_000_000_000_000n)).toBe('9000000000000000000us');
    expect(textArray(bytes('00000001 00000001 00000019 00000002 00000001 ffffffff 00000001 61'))).toEqual([
      null,
      'a',
    ]);
  });
});
