/** Colours of series: the Okabe–Ito set, told apart by people with any colour vision; darkened or lightened per theme in CSS. */
export const seriesColours = [
  '--series-1',
  '--series-2',
  '--series-3',
  '--series-4',
  '--series-5',
  '--series-6',
  '--series-7',
  '--series-8',
] as const;

export function resolveColour(index: number): string {
  const name = seriesColours[index % seriesColours.length] as string;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function resolveToken(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
