/** The last minute of one number that changes with each sample: what sparklines draw. */
import { useRef } from 'preact/hooks';

const maxValues = 60;

/**
 * @param moment changes with each sample; the same moment is taken once
 * @param value NaN is left out
 */
export function useTrail(moment: number, value: number): readonly number[] {
  const trail = useRef<{ moment: number; values: number[] }>({ moment: 0, values: [] });
  if (moment > trail.current.moment && !Number.isNaN(value)) {
    trail.current.moment = moment;
    trail.current.values.push(value);
    if (trail.current.values.length > maxValues) trail.current.values.shift();
  }
  return trail.current.values;
}

/** The rate per second of a counter that changes with each sample; NaN until two samples are there and after a reset. */
export function useRate(momentUs: number, counter: number): number {
  const last = useRef({ momentUs: 0, counter: Number.NaN, rate: Number.NaN });
  if (momentUs > last.current.momentUs && !Number.isNaN(counter)) {
    const moved = counter - last.current.counter;
    const rate = moved < 0 ? Number.NaN : moved / ((momentUs - last.current.momentUs) / 1e6);
    last.current = { momentUs, counter, rate };
  }
  return last.current.rate;
}
