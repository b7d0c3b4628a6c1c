/** A titled box. It says when it is loading, cut short or refused. */
import type { ComponentChildren } from 'preact';

export interface PanelProps {
  readonly title: string;
  readonly note?: string | undefined;
  readonly wide?: boolean;
  readonly truncated?: boolean;
  readonly error?: string | undefined;
  readonly children: ComponentChildren;
}

export function Panel({ title, note, wide, truncated, error, children }: PanelProps) {
  return (
    <section class={wide === true ? 'panel wide' : 'panel'} aria-label={title}>
      <header>
        <h2>{title}</h2>
        {note !== undefined && <span class="note">{note}</span>}
        {truncated === true && <span class="note warn">cut at the row limit: choose a shorter range</span>}
        {error !== undefined && <span class="note warn">{error}</span>}
      </header>
      {children}
    </section>
  );
}
