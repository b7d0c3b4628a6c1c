/** How execution times are spread: bars four to a power of two, with the percentiles marked. A list says it in words. */
import {
  bucketLowUs,
  bucketWidthUs,
  histogramTotal,
  quantileUs,
  type Sparse,
} from '../store/trace_histogram.js';
import { formatValue } from '../ui/format.js';

const barsPerPower = 4;
const height = 120;

export function Distribution({ histogram }: { histogram: Sparse }) {
  const total = histogramTotal(histogram);
  if (total === 0) return <p class="empty">No execution time of these calls is known.</p>;
  const place = (us: number): number => Math.floor(barsPerPower * Math.log2(Math.max(1, us)));
  const bars = new Map<number, number>();
  for (let at = 0; at < histogram.length; at += 2) {
    const bucket = histogram[at] as number;
    const bar = place(bucketLowUs(bucket) + bucketWidthUs(bucket) / 2);
    bars.set(bar, (bars.get(bar) ?? 0) + (histogram[at + 1] as number));
  }
  const first = Math.min(...bars.keys());
  const last = Math.max(...bars.keys());
  const count = last - first + 1;
  const most = Math.max(...bars.values());
  const width = Math.max(count, 24) * 14;
  const x = (us: number): number => (barsPerPower * Math.log2(Math.max(1, us)) - first) * 14;
  const quantiles = ([0.5, 0.95, 0.99] as const).map(
    (share) => [share, quantileUs(histogram, share)] as const,
  );
  const edge = (bar: number): string => formatValue(2 ** (bar / barsPerPower), 'us');
  return (
    <div class="distribution">
      <svg
        viewBox={`0 0 ${width} ${height + 18}`}
        role="img"
        aria-label={`Distribution of ${formatValue(total, 'calls')}: ${quantiles.map(([share, us]) => `${share * 100} % within ${formatValue(us, 'us')}`).join(', ')}`}
      >
        {[...bars].map(([bar, calls]) => (
          <rect
            key={bar}
            x={(bar - first) * 14}
            y={height - Math.max(1, (calls / most) * (height - 14))}
            width={12}
            height={Math.max(1, (calls / most) * (height - 14))}
          >
            <title>
              {edge(bar)} – {edge(bar + 1)}: {formatValue(calls, 'calls')} (
              {formatValue((100 * calls) / total, 'percent')})
            </title>
          </rect>
        ))}
        {quantiles.map(([share, us]) => (
          <line key={share} x1={x(us)} x2={x(us)} y1={0} y2={height} />
        ))}
        {quantiles
          .filter(([, us], at) => at === 0 || x(us) - x(quantiles[at - 1]?.[1] ?? 0) > 26)
          .map(([share, us]) => (
            <text key={share} x={x(us) + 3} y={9}>
              p{share * 100}
            </text>
          ))}
        {Array.from({ length: Math.ceil(count / 8) + 1 }, (_, at) => first + at * 8)
          .filter((bar) => (bar - first) * 14 <= width - 48)
          .map((bar) => (
            <text key={bar} x={(bar - first) * 14} y={height + 14}>
              {edge(bar)}
            </text>
          ))}
      </svg>
      <ul class="legend">
        {quantiles.map(([share, us]) => (
          <li key={share}>
            p{share * 100} <b>{formatValue(us, 'us')}</b>
          </li>
        ))}
        <li>
          <b>{formatValue(total, 'calls')}</b>
        </li>
      </ul>
    </div>
  );
}
